"""Unpacking archives from elsewhere: nothing lands outside the folder, and no link comes out."""

import lzma
import platform
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from fdbpl.system.errors import UserError
from fdbpl.system.progress import Report, silent

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")

MOST_ENTRIES = 3_000_000
MOST_RATIO = 50  # of bytes unpacked to packed: pictures hardly shrink, and lists about tenfold
ALWAYS_ROOM = 1 << 30  # bytes, whatever the ratio
MOST_HEADER = 1 << 20  # bytes of an entry's long name or attributes

_HEADERS = frozenset(
    {
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    }
)

# What reading an archive may raise; RuntimeError is zipfile's answer to an encrypted one.
_FAULTS = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError),
)


def archive_suffix(name: str) -> str | None:
    """Return the suffix that says that a file is an archive that can be unpacked, if it has one."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)


def unpack(archive: Path, folder: Path, report: Report = silent) -> None:
    """Unpack a zip or tar archive into `folder`; `report` follows the entries.

    Raises:
        UserError: the archive is damaged or encrypted, needs more room than there is, or holds a
            link or an entry that leads outside; or Python is too old to unpack a tar safely. Then
            nothing outside `folder` has been touched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, folder, report)
        else:
            _unpack_tar(archive, folder, report)
    except _FAULTS as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"{archive}: cannot be unpacked ({why}). Delete it and fetch it again, or unpack it by "
            "hand."
        ) from None


def _unpack_zip(archive: Path, folder: Path, report: Report) -> None:
    with zipfile.ZipFile(archive) as packed:
        entries = [entry for entry in packed.infolist() if _is_kept(entry.filename)]
        for entry in entries:
            is_link = stat.S_ISLNK(entry.external_attr >> 16)
            _require_harmless(archive, entry.filename, is_link=is_link)
        room = _Room(archive, folder)
        for entry in packed.infolist():
            room.take(entry.file_size)
        for done, entry in enumerate(entries, start=1):
            packed.extract(entry, folder)
            report(done, len(entries))


def _unpack_tar(archive: Path, folder: Path, report: Report) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"{archive}: to unpack it safely needs Python 3.11.4 or later, and this is "
            f"{platform.python_version()}. Unpack it into {folder} by hand: tar -xf {archive.name}"
        )
    room, entries = _Room(archive, folder), []
    with tarfile.open(archive, tarinfo=_Entry) as packed:
        for entry in packed:  # one after the other: what a later one hides is not read before
            room.take(entry.size)
            if _is_kept(entry.name):
                # the filter's own care for links can be led astray (CVE-2025-4517)
                is_link = entry.issym() or entry.islnk()
                _require_harmless(archive, entry.name, is_link=is_link)
                entries.append(entry)
        # a compressed file's checksum follows the last entry, and tarfile leaves it unread
        while packed.fileobj is not None and (rest := len(packed.fileobj.read(1 << 20))):
            room.take(rest, entries=0)
        for done, entry in enumerate(entries, start=1):
            packed.extract(entry, folder, filter="data")  # refuses devices, and special bits
            report(done, len(entries))


def _is_kept(name: str) -> bool:
    return PurePosixPath(name).parts[:1] != ("__MACOSX",)  # macOS adds it to archives


def _require_harmless(archive: Path, name: str, *, is_link: bool) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UserError(
            f"{archive}: entry {name!r} leads outside. Nothing is unpacked: this is not "
            "the archive of a dataset."
        )
    if is_link:
        raise UserError(
            f"{archive}: entry {name!r} is a link, wanted files and folders. Nothing is unpacked: "
            "if you trust the archive, unpack it by hand."
        )


class _Entry(tarfile.TarInfo):
    """An entry of a tar archive; tarfile would read a header of any size into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Entry":
        entry: _Entry = super().frombuf(buf, encoding, errors)  # type: ignore[assignment]
        if entry.type in _HEADERS and entry.size > MOST_HEADER:
            raise tarfile.ReadError(f"a header of {entry.size:,} bytes")
        return entry


class _Room:
    """What an archive may take: no more than there is, and than its own size explains."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._archive, self._folder = archive, folder
        self._free = shutil.disk_usage(folder).free
        self._most = max(ALWAYS_ROOM, MOST_RATIO * archive.stat().st_size)
        self._needed = self._entries = 0

    def take(self, size: int, entries: int = 1) -> None:
        """Count bytes to be unpacked; raise UserError when they are too many."""
        self._needed += size
        self._entries += entries
        if self._needed > self._most or self._entries > MOST_ENTRIES:
            raise UserError(
                f"{self._archive}: {self._needed:,} bytes or more in {self._entries:,} entries "
                f"when unpacked, wanted at most {self._most:,} in {MOST_ENTRIES:,} of an archive "
                "of this size. Nothing is unpacked: if you trust it, unpack it by hand."
            )
        if self._needed > self._free:
            raise UserError(
                f"{self._archive}: {self._needed:,} bytes or more when unpacked, {self._free:,} "
                f"are free at {self._folder}. Make room and fetch again."
            )
