import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from fdbpl.data.archives import archive_suffix, unpack
from fdbpl.system.errors import UserError

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
@pytest.mark.parametrize("link", ["../../secret", "/etc/hostname", "split.json"])
def test_a_link_is_refused_before_anything_is_unpacked(
    tmp_path: Path, name: str, link: str
) -> None:
    archive = MAKERS[name](tmp_path / name, FILES, link)
    with pytest.raises(UserError, match=rf"{name}: entry 'dtd/link' is a link.*by hand"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@needs_filter
def test_a_hard_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as packed:
        packed.addfile(tarfile.TarInfo("dtd/empty"))
        entry = tarfile.TarInfo("dtd/link")
        entry.type, entry.linkname = tarfile.LNKTYPE, "dtd/empty"
        packed.addfile(entry)
    with pytest.raises(UserError, match="entry 'dtd/link' is a link"):
        unpack(archive, tmp_path / "out")


@needs_filter
def test_links_longer_than_a_path_may_be_lead_nowhere(tmp_path: Path) -> None:
    archive, long = tmp_path / "x.tar", 247 * "d"
    with tarfile.open(archive, "w") as packed:  # as in CVE-2025-4517
        place = PurePosixPath()
        for letter in "abcdefghijklmnop":
            folder, link = (tarfile.TarInfo(str(place / one)) for one in (long, letter))
            folder.type = tarfile.DIRTYPE
            link.type, link.linkname = tarfile.SYMTYPE, long
            packed.addfile(folder)
            packed.addfile(link)
            place /= long
        short = PurePosixPath(*"abcdefghijklmnop")
        deep, out = tarfile.TarInfo(str(short / (254 * "l"))), tarfile.TarInfo("out")
        deep.type, deep.linkname = tarfile.SYMTYPE, "../" * 16
        out.type, out.linkname = tarfile.SYMTYPE, f"{deep.name}/../.."
        written = tarfile.TarInfo("out/written")
        for entry in (deep, out, written):
            packed.addfile(entry)
    with pytest.raises(UserError, match="is a link"):
        unpack(archive, tmp_path / "far" / "below" / "here")
    assert not list(tmp_path.rglob("written"))


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


def test_content_of_a_tar_that_changed_is_named(tmp_path: Path) -> None:
    plain = tarred(tmp_path / "plain.tar", FILES).read_bytes()
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(gzip.compress(plain, compresslevel=0).replace(b"picture", b"puncture"[:7]))
    with pytest.raises(UserError, match=r"cannot be unpacked.*CRC"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def flipped(content: bytes, place: int) -> bytes:
    """The content with every bit of ten bytes turned over."""
    part = bytes(byte ^ 255 for byte in content[place : place + 10])
    return content[:place] + part + content[place + 10 :]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_noise_in_a_zip_is_named_whatever_compressed_it(tmp_path: Path, method: int) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", method) as packed:
        packed.writestr("a.jpg", bytes(range(256)) * 9)
    sound = archive.read_bytes()
    for place in range(35, 75, 5):
        archive.write_bytes(flipped(sound, place))
        with pytest.raises(UserError, match=r"x\.zip: cannot be unpacked .*fetch it again"):
            unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_noise_in_a_tar_is_named_whatever_compressed_it(tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"x.tar.{suffix}"
    with tarfile.open(archive, f"w:{suffix}") as packed:
        entry = tarfile.TarInfo("a.jpg")
        entry.size = 256 * 99
        packed.addfile(entry, io.BytesIO(bytes(range(256)) * 99))
    sound = archive.read_bytes()
    for place in range(20, len(sound) - 12, 10):
        archive.write_bytes(flipped(sound, place))
        with pytest.raises(UserError, match=r"cannot be unpacked .*fetch it again"):
            unpack(archive, tmp_path / "out")


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a.jpg": b"picture"})
    content = bytearray(archive.read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(header) + flags] |= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.zip: cannot be unpacked .*encrypted.*by hand"):
        unpack(archive, tmp_path / "out")


def test_an_archive_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(tmp_path / "x.zip", FILES)
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("fdbpl.data.archives.shutil.disk_usage", lambda _: usage)
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
