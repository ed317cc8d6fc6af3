"""The command `fdbpl learn`."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fdbpl.cli.options import UserPath, model_option, shots_of, words
from fdbpl.system.workspace import Workspace

if TYPE_CHECKING:
    from fdbpl.clip.params import ModelParams

WORK = Path(".fdbpl") / "learn"
"""Where plans, caches and trainings of models stay."""


@click.command()
@click.argument("pictures", type=UserPath())
@click.option("--out", type=UserPath(), required=True, help="The model to write.")
@click.option(
    "--names",
    type=UserPath(dir_okay=False),
    help="Class names, one a line, of pictures whose classes nobody has told.",
)
@click.option(
    "--test",
    type=UserPath(file_okay=False),
    help="Beside --names: a folder of class folders to measure on.",
)
@click.option(
    "--unknown",
    type=UserPath(exists=True),
    help="Pictures that show none of the classes, to measure how many are refused.",
)
@click.option("--template", default="a photo of a {}.", show_default=True, help="Around a name.")
@model_option("student", "Whose image tower the model has. By default the packaged small one.")
@model_option("teacher", "Who tells what pictures show. By default the packaged small one.")
@click.option(
    "--method", "methods", multiple=True, callback=words, metavar="A,B",
    help="To choose from; by default those that take seconds.",
)  # fmt: skip
@click.option("--shots", metavar="N|all", default="all", show_default=True, help="Of each class.")
@click.option("--crops", type=click.IntRange(1), default=4, show_default=True, help="Of a picture.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--store", default=".fdbpl/store", show_default=True, help="Of encoded regions: URL.")
def learn(
    pictures: Path,
    out: Path,
    names: Path | None,
    test: Path | None,
    unknown: Path | None,
    template: str,
    student: "ModelParams | None",
    teacher: "ModelParams | None",
    methods: list[str],
    shots: str,
    crops: int,
    seed: int,
    device: str,
    store: str,
) -> None:
    """Learn to tell PICTURES apart, and write what does as a model that can be passed on.

    PICTURES is a folder with a folder of pictures for each class, perhaps below train/ and test/; a
    table (.csv or .parquet with columns image and class); or, with --names, a folder of pictures
    whose classes nobody has told. Every picture is held out once, to choose the method and to say
    how good it is. Again with more pictures or classes, only what is new is encoded.
    """
    from fdbpl.learning.figures import lines_of, with_unknown
    from fdbpl.learning.learn import learn_pictures
    from fdbpl.learning.model import made_of, save
    from fdbpl.learning.request import STUDENT, TEACHER, Request
    from fdbpl.serving.model_folder import require_place

    require_place(out)
    request = Request(
        pictures=pictures,
        names=names,
        test=test,
        template=template,
        student=student or STUDENT,
        teacher=teacher or TEACHER,
        methods=methods,
        shots=shots_of(shots),
        crops=crops,
        seed=seed,
        device=device,
        store=store,
    )
    outcome = learn_pictures(request, Workspace(WORK / re.sub(r"[^\w.-]", "_", out.name)))
    plan = outcome.plan
    how = "of your test to choose by" if outcome.chosen_by_test else "held out by turns"
    click.echo(
        f"{pictures}: {len(plan.class_names)} classes, {len(plan.shots[seed]):,} pictures to learn "
        f"from, {len(outcome.held_out.labels):,} {how}"
    )
    for note in outcome.notes:
        click.echo(f"  {note}")
    made = made_of(out.name, request, outcome)
    if unknown is not None:
        made = with_unknown(made, unknown)
    click.echo("\n".join(lines_of(made.measured, made.method.name, made.calibration.thresholds)))
    size = save(out, made)
    place = shlex.quote(str(out))
    click.echo(f"written: {out}, {size / 1e6:.0f} MB. Then: fdbpl predict {place} PICTURES")
