"""One stage: python -m flows.stage STAGE [DATASET], as DVC's stages call it.

It is a flow of Prefect's where PREFECT_API_URL names a server, and runs plainly otherwise:
importing Prefect takes seconds and starting a server of its own takes more, so a stage that DVC
starts on a laptop pays for neither.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fdbpl.cache.params import WorkerParams
from fdbpl.settings.params import DEFAULT_PATH, read_params
from fdbpl.stages import OVER_ALL, PER_DATASET, run_stage
from fdbpl.system.errors import UserError, told
from fdbpl.system.workspace import Workspace

USER_MISTAKE = 2
STAGES = {name.replace("_", "-"): name for name in (*PER_DATASET, *OVER_ALL)}


def run(stage: str, dataset: str | None = None) -> None:
    """Run a stage in the project's folder under DVC, and in runs/default when called by hand.

    DVC deletes and restores the outputs of its stages, so only a stage it started writes them.
    """
    root = Path() if "DVC_STAGE" in os.environ else Path("runs/default")
    params = read_params(DEFAULT_PATH)
    for line in run_stage(STAGES[stage], params, Workspace(root), dataset, _open_pool):
        print(line)


def _open_pool(workers: WorkerParams) -> Any:
    """Open the workers of a stage that encodes; of those only Dask's and Ray's import Prefect."""
    from flows.workers import open_pool

    return open_pool(workers)


def as_flow(stage: str) -> Callable[..., None]:
    """Return what runs the stage: a flow of its name where there is a server."""
    if not os.environ.get("PREFECT_API_URL"):
        return run
    from prefect import flow

    return flow(name=stage, log_prints=True)(run)


def main(words: list[str]) -> None:
    """Run the stage that the words name; answer a user's mistake with exit code 2."""
    if not words or words[0] not in STAGES:
        _end(f"usage: python -m flows.stage STAGE [DATASET], STAGE one of {', '.join(STAGES)}")
    if len(words) != 1 + (STAGES[words[0]] in PER_DATASET):
        dataset = " DATASET" * (STAGES[words[0]] in PER_DATASET)
        _end(f"usage: python -m flows.stage {words[0]}{dataset}")
    try:
        as_flow(words[0])(*words)
    except (UserError, OSError) as error:
        line = told(error)
        if line is None:
            raise
        _end(f"error: {line}")


def _end(line: str) -> None:
    print(line, file=sys.stderr)
    sys.exit(USER_MISTAKE)


if __name__ == "__main__":
    main(sys.argv[1:])
