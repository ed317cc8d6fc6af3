"""A world: one workspace's records of the three protocols and of rejection, and what lacks."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fdbpl.errors import UserError
from fdbpl.made_with import METHODS_SERVE, in_any_world, of_all, of_transfer, require_made_with
from fdbpl.params import Params
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


def read_world(work: Workspace, title: str, params: Params, *, of_ours: bool = True) -> World:
    """Read a workspace's records.

    Args:
        work: where they lie.
        title: what the page calls it.
        params: that they have to be made with.
        of_ours: whether they are of these parameters' own world; else data, datasets, methods and
            seeds may be others.

    Raises:
        UserError: nothing was compared there, or a record is damaged or of other parameters.
    """
    wanted = of_all(params)
    comparison = _read(work.comparison("json"), wanted, of_ours, partial(work.command, "compare"))
    if comparison is None or not comparison["methods"]:
        raise UserError(
            f"{work.comparison('json')}: no such file. Run {work.command('compare')} first."
        )
    transfer = None
    if params.transfer is not None:
        of_targets = of_transfer(params, params.transfer)
        transfer = _read(work.transferred, of_targets, of_ours, partial(work.command, "transfer"))
    rejection = _read(work.rejection("json"), wanted, of_ours, partial(work.command, "rejection"))
    return World(
        title,
        comparison,
        transfer if transfer and transfer["methods"] else None,
        rejection if rejection and rejection["methods"] else None,
    )


def _read(
    path: Path, wanted: Mapping[str, Any], of_ours: bool, command: Callable[..., str]
) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["methods"]
        found = record["made_with"]
        shared = wanted if of_ours else in_any_world(wanted, found)
        require_made_with(path, found, shared, command, METHODS_SERVE)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}). Run {command()} again."
        ) from None
    return record
