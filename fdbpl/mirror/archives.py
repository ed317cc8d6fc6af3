"""Unpacking archives from elsewhere: nothing lands outside the folder, and no link leads there."""

import platform
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fdbpl.errors import UserError
from fdbpl.progress import Report, silent

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")

LEFT_OUT = "__MACOSX"  # macOS adds it to archives


def archive_suffix(name: str) -> str | None:
    """Return the suffix that says that a file is an archive that can be unpacked, if it has one."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)


def unpack(archive: Path, folder: Path, report: Report = silent) -> None:
    """Unpack a zip or tar archive into `folder`; `report` follows the entries.

    Raises:
        UserError: the archive is damaged, needs more room than there is, or holds an entry that
            leads outside, a link that does, or a link in a zip at all; or Python is too old to
            unpack a tar safely. Then nothing outside `folder` has been touched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, folder, report)
        else:
            _unpack_tar(archive, folder, report)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError) as error:
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
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise UserError(
            f"{archive}: entry {entry.filename!r} is a link, wanted files and folders. "
            "Nothing is unpacked."
        )


def _unpack_tar(archive: Path, folder: Path, report: Report) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"{archive}: to unpack it safely needs Python 3.11.4 or later, and this is "
            f"{platform.python_version()}. Unpack it into {folder} by hand: tar -xf {archive.name}"
        )
    with tarfile.open(archive) as packed:
        entries = packed.getmembers()

        def counted() -> Iterator[tarfile.TarInfo]:
            for done, entry in enumerate(entries, start=1):
                report(done, len(entries))
                if not _is_left_out(entry.name):
                    yield entry

        # refuses what is absolute, climbs out, is a device, or is a link to any such place
        packed.extractall(folder, members=counted(), filter="data")


def _is_left_out(name: str) -> bool:
    return PurePosixPath(name).parts[:1] == (LEFT_OUT,)
