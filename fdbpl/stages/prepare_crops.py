"""Stage 1: which images, which split, which shots, which regions. No model, no torch."""

from dataclasses import replace

from fdbpl.data.names import read_vocabulary
from fdbpl.data.registry import given_picks, open_dataset
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import of_plan
from fdbpl.system.progress import Report, progress, silent
from fdbpl.system.workspace import Split, Workspace


def prepare_crops(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write the base-to-new plan of a dataset; return what to tell the user.

    Raises:
        UserError: see `open_dataset` and `make_plan`.
    """
    return save_plan(params, dataset, work)


def save_plan(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write a plan of a dataset, split as the workspace says; return what to tell the user.

    Raises:
        UserError: see `open_dataset` and `make_plan`.
    """
    with progress(f"{dataset}: looking at images") as report:
        plan = plan_of(params, dataset, work.split, report=report)
    plan.save(work.plan(dataset))
    lines = [f"{dataset}: {', '.join(_parts(plan))}"]
    for title, notes in plan.notes.items():
        if notes:
            more = f" and {len(notes) - 3} more" if len(notes) > 3 else ""
            lines.append(f"  {len(notes)} {title}: {'; '.join(notes[:3])}{more}")
    return lines


def plan_of(
    params: Params, dataset: str, split: Split, *, look: bool = True, report: Report = silent
) -> Plan:
    """Return the plan that the parameters ask for; see `make_plan`.

    Raises:
        UserError: see `open_dataset` and `make_plan`.
    """
    found = open_dataset(dataset, params.data)
    vocabulary = params.data.vocabulary if split != "test-only" else None
    plan = make_plan(
        found,
        regions=params.regions,
        shots=params.shots,
        seeds=params.seeds,
        split=split,
        given=given_picks(found, params.data) if split != "test-only" else None,
        vocabulary=read_vocabulary(vocabulary) if vocabulary else (),
        allow_unreadable_test_images=params.data.allow_unreadable_test_images,
        look=look,
        report=report,
    )
    return replace(plan, made_with=of_plan(params, dataset, split))


def _parts(plan: Plan) -> list[str]:
    parts = [f"{len(plan.class_names)} classes"]
    if plan.new:
        parts[0] += f" ({len(plan.base)} base, {len(plan.new)} new)"
    if plan.vocabulary:
        parts[0] += f", learned by {len(plan.vocabulary):,} names"
    if plan.base:
        train = len(plan.images) - len(plan.test)
        parts += [
            f"{train:,} training images for {len(plan.shots)} seeds",
            f"{len(plan.regions):,} regions",
        ]
    tests = "test" if plan.tests_labels else "held-out"
    return [*parts, f"{len(plan.test):,} {tests} images"]
