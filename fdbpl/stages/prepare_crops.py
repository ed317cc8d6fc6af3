"""Stage 1: which images, which split, which shots, which regions. No model, no torch."""

from dataclasses import replace

from fdbpl.data.names import read_vocabulary
from fdbpl.data.registry import SHIFTED, given_picks, open_dataset
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import of_plan
from fdbpl.stages.tasks import learning, tasks_of
from fdbpl.system.errors import UserError
from fdbpl.system.progress import Report, progress, silent
from fdbpl.system.workspace import Workspace


def prepare_crops(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write the plan of a dataset, for all its protocols; return what to tell the user.

    Raises:
        UserError: see `plan_of`.
    """
    with progress(f"{dataset}: looking at images") as report:
        plan = plan_of(params, dataset, report=report)
    work.before_writing()
    plan.save(work.plan(dataset))
    lines = [f"{dataset}: {', '.join(_parts(params, plan))}"]
    for title, notes in plan.notes.items():
        if notes:
            more = f" and {len(notes) - 3} more" if len(notes) > 3 else ""
            lines.append(f"  {len(notes)} {title}: {'; '.join(notes[:3])}{more}")
    return lines


def plan_of(params: Params, dataset: str, *, look: bool = True, report: Report = silent) -> Plan:
    """Return the plan that the parameters ask for; see `make_plan`.

    Raises:
        UserError: see `open_dataset`, `require_shifted_listed` and `make_plan`.
    """
    require_shifted_listed(dataset, params)
    found, protocols = open_dataset(dataset, params.data), learning(params, dataset)
    vocabulary = params.data.vocabulary if protocols else None
    plan = make_plan(
        found,
        regions=params.regions,
        shots=params.counts[-1],
        seeds=params.seeds,
        protocols=protocols,
        given=given_picks(found, params.data) if protocols else None,
        vocabulary=read_vocabulary(vocabulary) if vocabulary else (),
        allow_unreadable_test_images=params.data.allow_unreadable_test_images,
        look=look,
        report=report,
    )
    return replace(plan, made_with=of_plan(params, dataset))


def require_shifted_listed(name: str, params: Params) -> None:
    """Raise UserError when a known shifted version of the source is not listed under `shifted`."""
    is_known = name in SHIFTED.get(params.source, ()) and name not in params.data.own
    if is_known and name not in params.shifted:
        raise UserError(
            f"{name} shows the classes of {params.source}, the source, in other pictures. List it "
            "under shifted too, or take it off datasets."
        )


def _parts(params: Params, plan: Plan) -> list[str]:
    parts = [f"{len(plan.class_names)} classes"]
    tasks = tasks_of(params, plan)
    for name, count in {task.protocol.name: len(task.labels) for task in tasks}.items():
        if count < len(plan.class_names):
            parts[0] += f" ({count} learned under {name})"
    if plan.vocabulary:
        parts[0] += f", learned by {len(plan.vocabulary):,} names"
    if tasks:
        train = len(plan.images) - len(plan.test)
        parts += [
            f"{train:,} training images for {len(plan.shots)} seeds",
            f"{len(plan.regions):,} regions",
        ]
    tests = "test" if plan.tests_labels else "held-out"
    return [*parts, f"{len(plan.test):,} {tests} images"]
