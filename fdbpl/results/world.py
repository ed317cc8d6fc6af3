"""A world: one workspace's records of the three protocols and of rejection, and what lacks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdbpl.errors import UserError
from fdbpl.workspace import Workspace


@dataclass(frozen=True)
class World:
    """The records of a workspace; transfer and rejection may be absent.

    Attributes:
        title: what the page calls it.
        comparison: as the stage compare writes it.
        transfer: as the stage transfer writes it.
        rejection: as the stage rejection writes it.
    """

    title: str
    comparison: Mapping[str, Any]
    transfer: Mapping[str, Any] | None
    rejection: Mapping[str, Any] | None

    @property
    def methods(self) -> list[str]:
        """Names of all methods compared."""
        return list(self.comparison["methods"])

    @property
    def datasets(self) -> list[str]:
        """Names of all datasets compared."""
        return list(next(iter(self.comparison["methods"].values()))["datasets"])

    @property
    def seeds(self) -> list[str]:
        """The seeds compared."""
        cells = next(iter(self.comparison["methods"].values()))["datasets"]
        return list(next(iter(cells.values()))["seeds"])


def read_world(work: Workspace, title: str) -> World:
    """Read a workspace's records.

    Raises:
        UserError: nothing was compared there, or a record is damaged.
    """
    comparison = _read(work.comparison("json"), work.command("compare"))
    if comparison is None or not comparison["methods"]:
        raise UserError(
            f"{work.comparison('json')}: no such file. Run {work.command('compare')} first."
        )
    transfer = _read(work.transferred, work.command("transfer"))
    rejection = _read(work.rejection("json"), work.command("rejection"))
    return World(
        title,
        comparison,
        transfer if transfer and transfer["methods"] else None,
        rejection if rejection and rejection["methods"] else None,
    )


def _read(path: Path, command: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["methods"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}). Run {command} again.") from None
    return record
