"""The command `fdbpl pack`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fdbpl.cli.options import UserPath, params_option, run_option, workspace
from fdbpl.settings.params import read_params
from fdbpl.system.errors import UserError

if TYPE_CHECKING:
    from fdbpl.protocols.protocol import Protocol
    from fdbpl.regions.plan import Plan
    from fdbpl.settings.params import Params


@click.command()
@click.argument("dataset")
@click.option("--out", type=UserPath(), required=True, help="The model to write.")
@click.option("--method", default="fdbpl", show_default=True, help="Whose classifier it is.")
@click.option("--seed", type=int, default=None, help="Of its training; the first by default.")
@click.option(
    "--protocol",
    help="Under which it was learned; by default all-classes, or else what learned most classes.",
)
@params_option()
@run_option("Of runs/RUN, not DVC's outputs.")
def pack(
    dataset: str,
    out: Path,
    method: str,
    seed: int | None,
    protocol: str | None,
    params_path: Path,
    run: str | None,
) -> None:
    """Write what was learned on DATASET as a model, for fdbpl predict.

    It tells all class names of the dataset apart, also where half of them was learned. Of several
    numbers of shots it is the most. The test images measure it, and fit its probabilities and its
    thresholds for "none of these".
    """
    from fdbpl.serving.model_folder import require_place
    from fdbpl.stages.planned import load_planned
    from fdbpl.stages.tasks import task_of

    require_place(out)
    params, work = read_params(params_path), workspace(run)
    seed = params.seeds[0] if seed is None else seed
    if seed not in params.seeds:
        raise UserError(f"--seed is {seed}, wanted one of {', '.join(map(str, params.seeds))}.")
    chosen = {one.name: one for one in params.chosen_methods}
    if method not in chosen:
        raise UserError(
            f"--method is {method!r}, wanted one of those in {params_path}: {', '.join(chosen)}."
        )
    plan = load_planned(params, dataset, work)
    learned = _protocol(params, plan, protocol)
    task = task_of(params, plan, learned, learned.counts(params)[-1])

    from fdbpl.clip.model import load_model  # torch, for whom all is as it should be
    from fdbpl.serving.card import card_files
    from fdbpl.serving.from_run import made_of_run
    from fdbpl.serving.make import save_model

    made = made_of_run(
        params, work, task, chosen[method], seed, out.name,
        lambda: load_model(params.student, "student"),
    )  # fmt: skip
    size = save_model(out, made, card_files(made.about))
    found = made.measured
    what = "accuracy" if found["labels"] == "told" else "agreement with the teacher"
    click.echo(
        f"{dataset}: {made.method.title}, {learned.name}, {task.shots} shots, seed {seed}: {what} "
        f"{found['accuracy']:.1f} % of {found['pictures']:,} test images, all "
        f"{len(plan.class_names)} classes competing"
    )
    click.echo(f"written: {out}, {size / 1e6:.0f} MB. Then: fdbpl predict {out} PICTURES")


def _protocol(params: "Params", plan: "Plan", name: str | None) -> "Protocol":
    """Return the protocol called `name`, or the one that learned most classes of a plan."""
    from fdbpl.stages.tasks import classes_of, protocols_of

    found = {one.name: one for one in protocols_of(params, plan)}
    if not found:
        raise UserError(
            f"{plan.name}: nothing is learned on it under {', '.join(params.protocols)}, so there "
            "is no model. Name a dataset that is learned on."
        )
    if name is None:
        return max(found.values(), key=lambda one: len(classes_of(one, plan).learned))
    if name not in found:
        raise UserError(
            f"--protocol is {name!r}, wanted one that {plan.name} is learned under: "
            f"{', '.join(found)}."
        )
    return found[name]
