"""What a method costs: the numbers it learns, and the seconds it takes to learn them."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fdbpl.artifact import BRIDGE, MEMORY, Artifact, stack_of
from fdbpl.methods.names import TRAINED
from fdbpl.params import Params
from fdbpl.progress import Report, silent
from fdbpl.stages import run_stage
from fdbpl.workspace import Workspace

REAL, REAL_WIDTH = "ViT-B/32", 512
"""A student of the field, and the width of its text tower."""


@dataclass(frozen=True)
class Cost:
    """A trained method's cost.

    Attributes:
        method: its name.
        learned: numbers in all its contexts.
        learned_real: numbers that they would have in a text tower of REAL_WIDTH.
        remembered: numbers of memory and bridge, which follow from the cache in closed form.
        seconds: of the stage train-student, all seeds on one dataset.
    """

    method: str
    learned: int
    learned_real: int
    remembered: int
    seconds: float


def measure_costs(
    params: Params, dataset: str, work: Workspace, report: Report = silent
) -> Iterator[Cost]:
    """Train every method once on a dataset's caches, apart from the workspace, and yield its cost.

    The student is loaded once before, so that no method pays for Python's imports.

    Raises:
        UserError: the dataset has no plan or caches, or not of these parameters.
    """
    from fdbpl.clip.model import load_model  # takes seconds, and most commands do without

    load_model(params.student, "student")
    methods = [name for name in params.methods if name in TRAINED]
    with tempfile.TemporaryDirectory() as folder:
        apart = Workspace(Path(folder))
        for shared, place in (
            (work.plan(dataset), apart.plan(dataset)),
            (work.cache(dataset, ""), apart.cache(dataset, "")),
        ):
            place.parent.mkdir(parents=True)
            place.symlink_to(shared.absolute())
        for done, method in enumerate(methods, start=1):
            start = time.perf_counter()
            run_stage(
                "train_student", params.model_copy(update={"methods": [method]}), apart, dataset
            )
            seconds = time.perf_counter() - start
            path = apart.learned(dataset, method, params.seeds[0], "prompts")
            arrays = Artifact.load(path, "prompts").arrays
            contexts = stack_of(arrays)
            yield Cost(
                method,
                contexts.size,
                contexts.shape[0] * contexts.shape[1] * REAL_WIDTH,
                sum(arrays[name].size for name in (MEMORY, BRIDGE) if name in arrays),
                seconds,
            )
            report(done, len(methods))
