"""Stage 1: which images, which split, which shots, which regions. No model, no torch."""

from fdbpl.benchmarks.registry import open_dataset
from fdbpl.params import Params
from fdbpl.planning import make_plan
from fdbpl.progress import progress
from fdbpl.workspace import Workspace


def prepare_crops(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write the plan of a dataset; return what to tell the user.

    Raises:
        UserError: see `open_dataset` and `make_plan`.
    """
    found = open_dataset(dataset, params.data)
    with progress(f"{dataset}: looking at images") as report:
        plan = make_plan(
            found,
            regions=params.regions,
            shots=params.shots,
            seeds=params.seeds,
            allow_unreadable_test_images=params.data.allow_unreadable_test_images,
            report=report,
        )
    plan.save(work.plan(dataset))
    train = len(plan.images) - len(plan.test)
    lines = [
        f"{dataset}: {len(plan.class_names)} classes ({len(plan.base)} base, {len(plan.new)} new), "
        f"{train:,} training images for {len(plan.shots)} seeds, {len(plan.regions):,} regions, "
        f"{len(plan.test):,} test images"
    ]
    for title, notes in plan.notes.items():
        if notes:
            more = f" and {len(notes) - 3} more" if len(notes) > 3 else ""
            lines.append(f"  {len(notes)} {title}: {'; '.join(notes[:3])}{more}")
    return lines
