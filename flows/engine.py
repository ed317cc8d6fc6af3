"""How a stage becomes a flow: by Prefect's engine where a server is set, plainly otherwise.

Importing Prefect takes seconds and starting a server of its own takes more, so a stage that DVC
starts on a laptop pays for neither.
"""

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fdbpl.errors import UserError, told
from fdbpl.params import DEFAULT_PATH, WorkerParams, read_params
from fdbpl.stages import run_stage
from fdbpl.workspace import Workspace

USER_MISTAKE = 2

Stage = Callable[..., None]


def stage_flow(function: Stage) -> Stage:
    """Make a flow of a stage when PREFECT_API_URL names a server; else leave it as it is."""
    if not os.environ.get("PREFECT_API_URL"):
        return function
    from prefect import flow

    return flow(name=function.__name__.replace("_", "-"), log_prints=True)(function)


def run(stage: str, dataset: str | None = None) -> None:
    """Run a stage in the project's folder under DVC, and in runs/default when called by hand.

    DVC deletes and restores the outputs of its stages, so only a stage it started writes them.
    """
    root = Path() if "DVC_STAGE" in os.environ else Path("runs/default")
    params = read_params(DEFAULT_PATH)
    for line in run_stage(stage, params, Workspace(root), dataset, _open_pool):
        print(line)


def _open_pool(workers: WorkerParams) -> Any:
    """Open the workers of a stage that encodes; of those only Dask's and Ray's import Prefect."""
    from flows.workers import open_pool

    return open_pool(workers)


def start(flow: Stage) -> None:
    """Run a flow with the words of the command line; answer a user's mistake with exit code 2."""
    words = list(inspect.signature(flow).parameters)
    if len(sys.argv) != 1 + len(words):
        usage = " ".join(word.upper() for word in words)
        print(f"usage: python -m {Path(sys.argv[0]).parent.name}.{Path(sys.argv[0]).stem} {usage}")
        sys.exit(USER_MISTAKE)
    try:
        flow(*sys.argv[1:])
    except (UserError, OSError) as error:
        line = told(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(USER_MISTAKE)
