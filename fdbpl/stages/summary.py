"""What a stage over all datasets leaves: a record as JSON, its tables as text, its picture."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256, write_whole
from fdbpl.system.sealed import sealed_json, unsealed_json

FILES = "files"
"""The key under which a record has the digests of the two others, by suffix."""

Place = Callable[[str], Path]
"""From a suffix, "json", "md" or "png", to the file."""


def write_summary(place: Place, record: Mapping[str, Any], text: str, picture: bytes) -> None:
    """Write the three files, each whole or not at all, the record last."""
    files = {"md": text.encode(), "png": picture}
    for suffix, data in files.items():
        write_whole(place(suffix), data)
    digests = {suffix: sha256(data) for suffix, data in files.items()}
    write_whole(place("json"), sealed_json({**record, FILES: digests}))


def read_summary(place: Place, command: str) -> dict[str, Any]:
    """Return a record, sure that it and the files beside it are as they were written.

    Args:
        place: of the files.
        command: that writes them.

    Raises:
        UserError: one of them is missing or damaged, or they were not written together.
    """
    path = place("json")
    try:
        record = unsealed_json(path.read_bytes())
        for suffix, digest in record.pop(FILES).items():
            path = place(suffix)
            if sha256(path.read_bytes()) != digest:
                raise ValueError(f"of another run than {place('json').name}")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Run {command} first.") from None
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error}). Run {command} again.") from None
    return record
