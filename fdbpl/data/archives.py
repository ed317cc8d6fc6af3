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
        entries = [entry for entry in packed.infolist() if _is_kept(entry.filename)]
        for entry in entries:
            is_link = stat.S_ISLNK(entry.external_attr >> 16)
            _require_harmless(archive, entry.filename, is_link=is_link)
        _require_room(archive, folder, sum(entry.file_size for entry in entries))
        for done, entry in enumerate(entries, start=1):
            packed.extract(entry, folder)
            report(done, len(entries))


def _unpack_tar(archive: Path, folder: Path, report: Report) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"{archive}: to unpack it safely needs Python 3.11.4 or later, and this is "
            f"{platform.python_version()}. Unpack it into {folder} by hand: tar -xf {archive.name}"
        )
    with tarfile.open(archive) as packed:
        entries = [entry for entry in packed.getmembers() if _is_kept(entry.name)]
        # a compressed file's checksum follows the last entry, and tarfile leaves it unread
        while packed.fileobj is not None and packed.fileobj.read(1 << 20):
            pass
        for entry in entries:
            # the filter's own care for links can be led astray (CVE-2025-4517)
            _require_harmless(archive, entry.name, is_link=entry.issym() or entry.islnk())
        _require_room(archive, folder, sum(entry.size for entry in entries))
        for done, entry in enumerate(entries, start=1):
            packed.extract(entry, folder, filter="data")  # refuses devices, and special bits
            report(done, len(entries))


def _is_kept(name: str) -> bool:
    return PurePosixPath(name).parts[:1] != (LEFT_OUT,)


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


def _require_room(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{archive}: {needed:,} bytes when unpacked, {free:,} are free at {folder}. "
            "Make room and fetch again."
        )
