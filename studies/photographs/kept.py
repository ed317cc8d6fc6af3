"""What was measured, kept beside a page: parts of a study may be run on different days."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole

Records = Mapping[str, Mapping[str, Any]]
"""By run, what it left; each with where it was "measured"."""


def renewed(path: Path, measured: Records, about: str) -> dict[str, dict[str, Any]]:
    """Return what a file keeps, and in its place what of `measured` is new.

    What is as it was kept was measured where that says.

    Args:
        path: of `keep`; it may be absent.
        measured: by run.
        about: commit and machine.

    Raises:
        UserError: the file is damaged.
    """
    try:
        found = json.loads(path.read_bytes()) if path.exists() else {}
        new = json.loads(json.dumps(measured))  # with the types that JSON has
        for name, one in new.items():
            kept = found.get(name, {})
            if kept != {**one, "measured": kept.get("measured")}:
                found[name] = {**one, "measured": about}
        return found
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}). Take it from git, or delete it and run all "
            "parts of the study again."
        ) from None


def keep(path: Path, records: Records) -> None:
    """Write records in their own order, which is that of the tables."""
    text = json.dumps(records, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    write_whole(path, text.encode())


def where(records: Records) -> str:
    """Say at which commit and on which machine each was measured."""
    names: dict[str, list[str]] = {}
    for name, one in records.items():
        names.setdefault(one["measured"], []).append(name)
    if len(names) == 1:
        return f"Measured at {next(iter(names))}."
    return "\n".join(
        ["Measured:\n", *(f"- {', '.join(of)} at {about}" for about, of in names.items())]
    )
