import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from fdbpl.errors import UserError
from fdbpl.mirror.archives import archive_suffix, unpack

FILES = {"dtd/images/a b/ü.jpg": b"picture" * 99, "dtd/split.json": b"{}", "dtd/empty": b""}


def zipped(path: Path, files: Mapping[str, bytes], link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if link is not None:
            entry = zipfile.ZipInfo("dtd/link")
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, link)
    return path


def tarred(path: Path, files: Mapping[str, bytes], link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if link is not None:
            entry = tarfile.TarInfo("dtd/link")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
    return path


MAKERS = {"x.zip": zipped, "x.tar": tarred, "x.tar.gz": tarred}
needs_filter = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4 unpacks no tar safely"
)
NAMES = ["x.zip", *(pytest.param(name, marks=needs_filter) for name in ("x.tar", "x.tar.gz"))]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_comes_out_as_it_was(tmp_path: Path, name: str) -> None:
    junk = {"__MACOSX/dtd/._split.json": b"junk"}
    archive = MAKERS[name](tmp_path / name, {**FILES, **junk})
    reports: list[tuple[int, int]] = []
    unpack(archive, tmp_path / "out", lambda done, total: reports.append((done, total)))
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == FILES
    assert reports[-1][0] == reports[-1][1] == len(reports)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", ["../out.txt", "dtd/../../out.txt"])
def test_a_path_that_leads_outside_is_refused(tmp_path: Path, name: str, path: str) -> None:
    archive = MAKERS[name](tmp_path / name, {path: b"x"})
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"x\.(zip|tar).*outside"):
        unpack(archive, tmp_path / "out")
    assert set(tmp_path.iterdir()) <= before | {tmp_path / "out"}


@needs_filter
def test_an_absolute_path_lands_inside_or_nowhere(tmp_path: Path) -> None:
    there = tmp_path / "there.txt"
    with pytest.raises(UserError, match="leads outside"):
        unpack(zipped(tmp_path / "x.zip", {str(there): b"x"}), tmp_path / "out")
    unpack(tarred(tmp_path / "x.tar", {str(there): b"x"}), tmp_path / "out")  # as tar does it
    assert not there.exists()
    assert (tmp_path / "out" / str(there).strip("/")).read_bytes() == b"x"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("link", ["../../secret", "/etc/hostname"])
def test_a_link_that_leads_outside_is_refused(tmp_path: Path, name: str, link: str) -> None:
    archive = MAKERS[name](tmp_path / name, FILES, link)
    with pytest.raises(UserError, match="link"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("link"))


def test_a_backslash_is_no_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads outside"):
        unpack(zipped(tmp_path / "x.zip", {"..\\out.txt": b"x"}), tmp_path / "out")


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_archive_is_named(tmp_path: Path, name: str) -> None:
    archive = MAKERS[name](tmp_path / name, {**FILES, "dtd/large": bytes(range(256)) * 500})
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(UserError, match=rf"{name}: cannot be unpacked .*fetch it again"):
        unpack(archive, tmp_path / "out")


def test_content_that_changed_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        packed.writestr("a.jpg", b"picture")
    archive.write_bytes(archive.read_bytes().replace(b"picture", b"puncture"[:7]))
    with pytest.raises(UserError, match=r"cannot be unpacked.*CRC"):
        unpack(archive, tmp_path / "out")


def test_an_archive_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(tmp_path / "x.zip", FILES)
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("fdbpl.mirror.archives.shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"695 bytes when unpacked, 100 are free"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_archives_are_told_by_their_name() -> None:
    assert archive_suffix("dtd.zip") == ".zip"
    assert archive_suffix("A.TAR.GZ") == ".tar.gz"
    assert archive_suffix("split.json") is None


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_python_that_unpacks_no_tar_safely_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    archive = tarred(tmp_path / name, FILES)
    with pytest.raises(
        UserError, match=rf"{name}: to unpack it safely needs Python 3\.11\.4.*by hand"
    ):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
