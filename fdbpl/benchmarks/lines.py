"""The lines of a text file, for readers that name the line at fault."""

from pathlib import Path

from fdbpl.system.errors import UserError


def numbered_lines(path: Path, wanted: str) -> list[tuple[int, str]]:
    """Return the lines that are not empty, stripped, with their numbers from 1.

    Args:
        path: a UTF-8 text file, with or without a byte order mark.
        wanted: what the file holds, for the error.

    Raises:
        UserError: the file is missing, unreadable or not UTF-8.
    """
    lines = enumerate(read_text(path, wanted).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_text(path: Path, wanted: str) -> str:
    """Return a UTF-8 text file's content; `wanted` and errors as in `numbered_lines`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. Wanted {wanted}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: not UTF-8. Save the file as UTF-8; wanted {wanted}."
        ) from None
