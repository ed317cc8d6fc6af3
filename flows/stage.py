"""One stage: python -m flows.stage STAGE [DATASET], as DVC's stages call it, who say no dataset.

DVC runs its commands by a shell, which no name shall reach: its own are in DVC_STAGE.

It is a flow of Prefect's under the worker of `fdbpl up`, and runs plainly otherwise, whatever
server PREFECT_API_URL names: importing Prefect takes seconds and starting a server takes more, so
a stage that DVC starts on a laptop pays for neither.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fdbpl.cache.params import WorkerParams
from fdbpl.settings.params import DEFAULT_PATH
from fdbpl.settings.resolved import RESOLVED
from fdbpl.stages import OVER_ALL, PER_DATASET, run_stage
from fdbpl.stages.started import started
from fdbpl.system.errors import USER_MISTAKE, exit_code
from fdbpl.system.processes import MARK
from fdbpl.system.terminal import replace_unknown_letters
from fdbpl.system.workspace import Workspace

STAGES = {name.replace("_", "-"): name for name in (*PER_DATASET, *OVER_ALL)}


def run(stage: str, dataset: str | None = None) -> None:
    """Run a stage in the project's folder under DVC, and in runs/default when called by hand.

    DVC deletes and restores the outputs of its stages, so only a stage it started writes them.
    """
    root = Path() if "DVC_STAGE" in os.environ else Path("runs/default")
    of_dvc = root == Path() and RESOLVED.is_file()  # a project of an older version has none
    given = RESOLVED if of_dvc else DEFAULT_PATH
    params, work = started(stage, given, Workspace(root), dataset)
    for line in run_stage(STAGES[stage], params, work, dataset, _open_pool):
        print(line)


def _open_pool(workers: WorkerParams) -> Any:
    """Open the workers of a stage that encodes; of those only Dask's and Ray's import Prefect."""
    from flows.workers import open_pool

    return open_pool(workers)


def as_flow(stage: str) -> Callable[..., None]:
    """Return what runs the stage: a flow of its name under a worker of this project's."""
    if MARK not in os.environ:
        return run
    from prefect import flow

    return flow(name=stage, log_prints=True)(run)


def main(words: list[str]) -> None:
    """Run the stage that the words name; answer a user's mistake with exit code 2."""
    replace_unknown_letters()
    if len(words) == 1 and "@" in os.environ.get("DVC_STAGE", ""):
        words = [*words, os.environ["DVC_STAGE"].rpartition("@")[2]]
    if not words or words[0] not in STAGES:
        _end(f"usage: python -m flows.stage STAGE [DATASET], STAGE one of {', '.join(STAGES)}")
    if len(words) != 1 + (STAGES[words[0]] in PER_DATASET):
        dataset = " DATASET" * (STAGES[words[0]] in PER_DATASET)
        _end(f"usage: python -m flows.stage {words[0]}{dataset}")
    if code := exit_code(partial(as_flow(words[0]), *words)):
        sys.exit(code)


def _end(line: str) -> None:
    print(line, file=sys.stderr)
    sys.exit(USER_MISTAKE)


if __name__ == "__main__":
    main(sys.argv[1:])
