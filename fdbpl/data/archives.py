"""Unpacking archives from elsewhere: nothing lands outside the folder, and no link comes out."""

import lzma
import platform
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fdbpl.system.errors import UserError
from fdbpl.system.progress import Report, silent

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")

BLOCK = 1 << 20

LEFT_OUT = "__MACOSX"  # macOS adds it to archives

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
        entries = [entry for entry in packed.infolist() if not _is_left_out(entry.filename)]
        for entry in entries:
            _require_inside(archive, entry)
        needed, free = sum(entry.file_size for entry in entries), shutil.disk_usage(folder).free
        if needed > free:
            raise UserError(
                f"{archive}: {needed:,} bytes when unpacked, {free:,} are free at {folder}. "
                "Make room and fetch again."
            )
        for done, entry in enumerate(entries, start=1):
            packed.extract(entry, folder)
            report(done, len(entries))


def _require_inside(archive: Path, entry: zipfile.ZipInfo) -> None:
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or "\0" in entry.filename:
        raise UserError(
            f"{archive}: entry {entry.filename!r} leads outside. Nothing is unpacked: this is not "
            "the archive of a dataset."
        )
    _require_no_link(archive, entry.filename, is_link=stat.S_ISLNK(entry.external_attr >> 16))


def _require_no_link(archive: Path, name: str, *, is_link: bool) -> None:
    if is_link:
        raise UserError(
            f"{archive}: entry {name!r} is a link, wanted files and folders. Nothing is unpacked: "
            "if you trust the archive, unpack it by hand."
        )


def _unpack_tar(archive: Path, folder: Path, report: Report) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"{archive}: to unpack it safely needs Python 3.11.4 or later, and this is "
            f"{platform.python_version()}. Unpack it into {folder} by hand: tar -xf {archive.name}"
        )
    with tarfile.open(archive) as packed:
        entries = packed.getmembers()
        _read_on(packed)
        # the filter's own care for links can be led astray (CVE-2025-4517); without any it is safe
        for entry in entries:
            _require_no_link(archive, entry.name, is_link=entry.issym() or entry.islnk())

        def counted() -> Iterator[tarfile.TarInfo]:
            for done, entry in enumerate(entries, start=1):
                report(done, len(entries))
                if not _is_left_out(entry.name):
                    yield entry

        # refuses what is absolute, climbs out or is a device
        packed.extractall(folder, members=counted(), filter="data")


def _read_on(packed: tarfile.TarFile) -> None:
    """Read what follows the last entry: a compressed file's checksum, which tarfile leaves unread.

    Raises:
        OSError, EOFError, lzma.LZMAError: it is not that of the content, or is missing.
    """
    while packed.fileobj is not None and packed.fileobj.read(BLOCK):
        pass


def _is_left_out(name: str) -> bool:
    return PurePosixPath(name).parts[:1] == (LEFT_OUT,)
