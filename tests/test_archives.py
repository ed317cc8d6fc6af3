"""What comes out of an archive is what went in; what is harmful or damaged is refused by name."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from fdbpl.data import archives
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


def tarred(
    path: Path, files: Mapping[str, bytes], link: str | None = None, kind: bytes = tarfile.SYMTYPE
) -> Path:
    packing = path.suffix.removeprefix(".").replace("tar", "")
    with tarfile.open(path, f"w:{packing}") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if link is not None:
            entry = tarfile.TarInfo("dtd/link")
            entry.type, entry.linkname = kind, link
            archive.addfile(entry)
    return path


needs_filter = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4 unpacks no tar safely"
)
MAKERS = {"x.zip": zipped, "x.tar": tarred, "x.tar.gz": tarred}
EACH = pytest.mark.parametrize(
    "name", ["x.zip", *(pytest.param(name, marks=needs_filter) for name in ("x.tar", "x.tar.gz"))]
)


def refused(archive: Path, says: str) -> None:
    """It is refused by name, and neither in the folder nor outside does anything appear."""
    before = set(archive.parent.rglob("*"))
    with pytest.raises(UserError, match=rf"{archive.name}: {says}"):
        unpack(archive, archive.parent / "out")
    assert set(archive.parent.rglob("*")) <= before | {archive.parent / "out"}


@EACH
def test_every_file_comes_out_as_it_was(tmp_path: Path, name: str) -> None:
    archive = MAKERS[name](tmp_path / name, {**FILES, "__MACOSX/dtd/._split.json": b"junk"})
    reports: list[tuple[int, int]] = []
    unpack(archive, tmp_path / "out", lambda done, total: reports.append((done, total)))
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == FILES
    assert reports == [(done, len(FILES)) for done in range(1, len(FILES) + 1)]


@EACH
@pytest.mark.parametrize("path", ["../x.txt", "dtd/../../x.txt", "/etc/x.txt", "..\\x.txt"])
def test_a_path_that_leads_outside_is_refused(tmp_path: Path, name: str, path: str) -> None:
    refused(MAKERS[name](tmp_path / name, {**FILES, path: b"x"}), r"entry '.*' leads outside")


@EACH
@pytest.mark.parametrize("link", ["../../secret", "/etc/hostname", "split.json"])
def test_a_link_is_refused(tmp_path: Path, name: str, link: str) -> None:
    refused(MAKERS[name](tmp_path / name, FILES, link), "entry 'dtd/link' is a link.*by hand")


@needs_filter
def test_hard_links_and_devices_are_refused(tmp_path: Path) -> None:
    hard = tarred(tmp_path / "x.tar", FILES, "dtd/empty", tarfile.LNKTYPE)
    refused(hard, "entry 'dtd/link' is a link")
    pipe = tarred(tmp_path / "y.tar", {}, "", tarfile.FIFOTYPE)
    refused(pipe, r"cannot be unpacked \(SpecialFileError")


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


@EACH
def test_an_archive_that_is_cut_short_is_named(tmp_path: Path, name: str) -> None:
    archive = MAKERS[name](tmp_path / name, {**FILES, "dtd/large": bytes(range(256)) * 500})
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(UserError, match=rf"{name}: cannot be unpacked .*fetch it again"):
        unpack(archive, tmp_path / "out")


def test_content_that_changed_under_its_checksum_is_named(tmp_path: Path) -> None:
    plain = tarred(tmp_path / "plain.tar", FILES).read_bytes()
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as packed:
        packed.writestr("a.jpg", b"picture")
    contents = {"x.zip": stored.getvalue(), "x.tar.gz": gzip.compress(plain, compresslevel=0)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content.replace(b"picture", b"punctur"))
        with pytest.raises(UserError, match=rf"{name}: cannot be unpacked.*CRC"):
            unpack(tmp_path / name, tmp_path / "out")


def zip_by(method: int) -> Callable[[Path, Mapping[str, bytes]], Path]:
    def pack(path: Path, files: Mapping[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w", method) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return path

    return pack


@pytest.mark.parametrize(
    ("name", "pack", "places"),
    [
        ("x.zip", zip_by(zipfile.ZIP_DEFLATED), range(35, 75, 5)),
        ("x.zip", zip_by(zipfile.ZIP_BZIP2), range(35, 75, 5)),
        ("x.zip", zip_by(zipfile.ZIP_LZMA), range(35, 75, 5)),
        *((f"x.tar.{packing}", tarred, None) for packing in ("gz", "xz", "bz2")),
    ],
)
def test_noise_is_named_whatever_compressed_it(tmp_path: Path, name, pack, places) -> None:
    archive = pack(tmp_path / name, {"a.jpg": bytes(range(256)) * 99})
    sound = archive.read_bytes()
    for place in places or range(20, len(sound) - 12, 10):
        noise = bytes(byte ^ 255 for byte in sound[place : place + 10])
        archive.write_bytes(sound[:place] + noise + sound[place + 10 :])
        with pytest.raises(UserError, match=r"cannot be unpacked .*fetch it again"):
            unpack(archive, tmp_path / "out")


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a.jpg": b"picture"})
    content = bytearray(archive.read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(header) + flags] |= 1
    archive.write_bytes(content)
    refused(archive, r"cannot be unpacked .*encrypted.*by hand")


@EACH
def test_an_archive_without_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("fdbpl.data.archives.shutil.disk_usage", lambda _: usage)
    refused(MAKERS[name](tmp_path / name, FILES), r"6\d\d bytes or more when .*, 100 are free")


def test_archives_are_told_by_their_name() -> None:
    names = ("dtd.zip", "A.TAR.GZ", "split.json")
    assert [archive_suffix(name) for name in names] == [".zip", ".tar.gz", None]


def test_a_python_that_unpacks_no_tar_safely_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    archive = tarred(tmp_path / "x.tar", FILES)
    refused(archive, r"to unpack it safely needs Python 3\.11\.4.*by hand")


@EACH
def test_what_unpacks_to_far_more_than_it_is_leaves_nothing(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ROOM", 1 << 20)
    pictures = np.random.default_rng(0).bytes(1 << 20)
    unpack(MAKERS[name](tmp_path / name, {"a": pictures, "b": bytes(1 << 19)}), tmp_path / "sound")
    if name == "x.tar":  # it shrinks nothing, and is as long as what comes out
        return
    archive = MAKERS[name](tmp_path / name, {"a": bytes(60 << 20), "b": pictures[:9]})
    refused(archive, r"62,914,560 bytes or more in 1 entries when unpacked, wanted at most [34],")


@needs_filter
def test_an_archive_of_too_many_entries_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MOST_ENTRIES", 5)
    for name, make in MAKERS.items():
        refused(make(tmp_path / name, {str(i): b"" for i in range(6)}), "0 bytes or more in 6 ")


@needs_filter
def test_the_end_of_an_archive_may_hide_nothing_without_bound(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ROOM", 1 << 20)
    whole = gzip.decompress(tarred(tmp_path / "x.tar.gz", FILES).read_bytes())
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(whole + bytes(50 << 20)))
    refused(tmp_path / "x.tar.gz", r"[\d,]+ bytes or more in 3 entries")


@needs_filter
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path, kind: bytes) -> None:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = kind, 1 << 40
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    whole = gzip.decompress((tmp_path / "x.tar.gz").read_bytes())[:512]
    head = entry.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(whole + head + bytes(1 << 20)))
    refused(tmp_path / "x.tar.gz", r"cannot be unpacked \(ReadError: a header of 1,099,511,627,776")
