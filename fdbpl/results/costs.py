"""What a method costs: the numbers it learns, and the seconds it takes to learn them."""

import tempfile
import time
from pathlib import Path

from fdbpl.classify.artifact import Artifact
from fdbpl.methods.knowledge import BRIDGE, MEMORY
from fdbpl.methods.prompts import SIDES
from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import markdown
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.system.progress import Report, silent
from fdbpl.system.workspace import Workspace

REAL, REAL_WIDTH = "ViT-B/32", 512
"""A student of the field, and the width of its text tower."""


def costs_table(params: Params, dataset: str, work: Workspace, report: Report = silent) -> str:
    """Train every method once on a dataset's caches, apart from the workspace; return its costs.

    Learned are the numbers in all contexts, here and in a text tower of REAL_WIDTH; remembered
    those of memory and bridge, which follow from the cache in closed form. The student is loaded
    once before, so that no method pays for Python's imports.

    Raises:
        UserError: the dataset has no plan or caches, or not of these parameters.
    """
    from fdbpl.clip.model import load_model  # takes seconds, and most commands do without

    load_model(params.student, "student")
    methods = [one.name for one in params.chosen_methods if one.takes_steps]
    heads = ("method", "learned numbers", f"the same in {REAL}", "remembered numbers", "seconds")
    rows: list[tuple[str, ...]] = [heads]
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
            one = params.model_copy(update={"methods": [method]})
            run_stage("train_student", one, apart, dataset)
            seconds = time.perf_counter() - start
            path = apart.learned(dataset, method, params.seeds[0], "prompts")
            arrays = Artifact.load(path, "prompts").arrays
            contexts = [arrays[side] for side in SIDES if side in arrays]
            real = sum(len(one) for one in contexts) * REAL_WIDTH
            learned = sum(one.size for one in contexts)
            remembered = sum(arrays[name].size for name in (MEMORY, BRIDGE) if name in arrays)
            counts = (f"{count:,}" for count in (learned, real, remembered))
            rows.append((title_of(method), *counts, f"{seconds:.1f}"))
            report(done, len(methods))
    return (
        f"Seconds to train one method with {len(params.seeds)} seeds on {dataset}, from its "
        f"caches, by the stage train-student: measured once.\n\n{markdown(rows)}"
    )
