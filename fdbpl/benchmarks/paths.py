"""Paths that a list names, which must stay inside the dataset's folder."""

from pathlib import Path, PurePosixPath

from fdbpl.system.errors import UserError


def inside(path: object) -> str:
    """Return a relative POSIX path that stays inside its folder, in its one spelling.

    Raises:
        ValueError: it is no path, is absolute or climbs out.
    """
    if not isinstance(path, str):
        raise ValueError(f"path {path!r} is no text")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError(f"path {path!r} leads outside the dataset's folder")
    if not _is_utf8(path):
        raise ValueError(f"path {path!r} is no UTF-8")
    return str(pure)


class Fence:
    """Lets only paths pass that stay inside a folder, links on disk followed.

    The folder itself may be a link. A file that does not exist passes: whoever reads it names it.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._root = folder.resolve()
        self._checked: set[Path] = {folder}

    def __call__(self, path: object) -> str:
        """Return the path in its one spelling.

        Raises:
            ValueError: see `inside`; or a link on the way leads outside.
        """
        kept = inside(path)
        file = self._folder / kept
        if file.parent not in self._checked:
            self._require_inside(file.parent, kept)
            self._checked.add(file.parent)
        if file.is_symlink():
            self._require_inside(file, kept)
        return kept

    def _require_inside(self, place: Path, path: str) -> None:
        try:
            end = place.resolve()
        except (OSError, RuntimeError):  # a ring of links; Python before 3.13 says RuntimeError
            raise ValueError(f"path {path!r} goes through a ring of links") from None
        if not end.is_relative_to(self._root):
            raise ValueError(
                f"path {path!r} leads outside the dataset's folder by a link, to {end}"
            )


def require_utf8(folder: Path, name: str) -> str:
    """Return a name listed in `folder`; raise `UserError` when its bytes are not UTF-8."""
    if not _is_utf8(name):
        shown = name.encode("utf-8", "backslashreplace").decode()
        raise UserError(f"{folder}: the file name {shown} is not UTF-8. Rename it.")
    return name


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # the mark Python leaves where bytes could not be decoded
        return False
    return True
