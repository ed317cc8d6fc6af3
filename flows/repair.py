"""What a crash, a full disk or a move left of a project, mended: `fdbpl repair`.

The project's own commands begin with it. It reads lock files, and sizes of what DVC caches.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from fdbpl.system import processes
from fdbpl.system.errors import UserError
from fdbpl.system.files import locked, set_aside
from fdbpl.tracking import FOLDER, database
from flows import dvc_files, servers

DVC_YAML = Path("dvc.yaml")


def repair(*, thoroughly: bool = False) -> Iterator[str]:
    """Mend what there is, in the project's folder; yield a line for each thing that was done.

    Args:
        thoroughly: read every byte of DVC's cache and of MLflow's database too.

    Raises:
        UserError: this is no folder of a project.
    """
    if not DVC_YAML.is_file():
        raise UserError(f"{DVC_YAML}: no such file. Run this in the project's folder.")
    yield from dvc_files.mend(thoroughly=thoroughly)
    yield from database.mend(FOLDER, thoroughly=thoroughly)
    yield from _mend_servers()


def _mend_servers() -> Iterator[str]:
    """Where it is no longer known what `fdbpl up` started, end that, so that it can start anew."""
    if not servers.STATE.is_file() or processes.MARK in os.environ:  # one of them would end itself
        return
    with locked(servers.FOLDER / "lock"):
        try:
            servers.State.load()
        except (ValueError, TypeError, LookupError, AttributeError):
            started = processes.started_here()
            processes.end(started)
            place = set_aside(servers.STATE)
            yield f"{servers.STATE}: damaged; it is {place} now"
            yield f"ended {len(started)} processes that fdbpl up had started"
