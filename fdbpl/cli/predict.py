"""The command `fdbpl predict`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fdbpl.cli.options import UserPath, model_option
from fdbpl.system.errors import UserError

if TYPE_CHECKING:
    from fdbpl.clip.params import ModelParams
    from fdbpl.serving.predictor import Predictor

UNREAD = 1


@click.command()
@click.argument("model", type=UserPath())
@click.argument("paths", nargs=-1, required=True, type=UserPath(path_type=str, readable=False))
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes named.")
@click.option("--none", "say_none", is_flag=True, help='Say "none of these" of unknown pictures.')
@click.option(
    "--keep",
    type=click.Choice(["90", "95", "99"]),
    default="95",
    show_default=True,
    help="Per cent of known pictures that shall count as known.",
)
@click.option(
    "--classes",
    type=UserPath(dir_okay=False),
    help="A file of other class names, one a line.",
)
@model_option("student", "The student, where its weights were a file; only --classes needs it.")
@model_option("teacher", "The teacher, likewise; few methods need it.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--json", "form", flag_value="json", help="Print a JSON object a line.")
@click.option("--threads", type=click.IntRange(1), help="By default one a core.")
@click.pass_context
def predict(
    context: click.Context,
    model: Path,
    paths: tuple[str, ...],
    top: int,
    say_none: bool,
    keep: str,
    classes: Path | None,
    student: "ModelParams | None",
    teacher: "ModelParams | None",
    form: str | None,
    threads: int | None,
) -> None:
    """Tell what pictures show, by the MODEL that fdbpl learn wrote.

    PATHS are pictures, folders of pictures, or - for a list of paths on standard input. Each
    picture is one line, in order, with its likeliest classes; as JSON: path, top as [[name,
    probability], ...], score and known, or path and error. Ends with exit code 1 where a picture
    could not be read, which stops nothing.
    """
    from fdbpl.serving.formats import csv_header, csv_line, json_line, table_line
    from fdbpl.serving.pictures import LIST, pictures
    from fdbpl.serving.stream import answers

    count = threads or os.cpu_count() or 1
    predictor = _predictor(model, classes, student, teacher)
    top = min(top, len(predictor.class_names))
    if form == "csv":
        click.echo(csv_header(top))
    done = unread = 0
    listed = map(os.fsdecode, sys.stdin.buffer if LIST in paths else ())
    files = pictures(paths, listed)
    for answer in answers(predictor, files, threads=count, top=top, keep=int(keep)):
        done, unread = done + 1, unread + (answer.prediction is None)
        if form == "json":
            line = json_line(answer)
        elif form == "csv":
            line = csv_line(answer, top=top, say_none=say_none)
        else:
            line = table_line(answer, say_none=say_none)
        click.echo(line.encode(errors="surrogateescape"))  # a path is said in its own bytes
    if not done:
        raise UserError(f"{' '.join(paths)}: no picture. Name pictures, or folders that hold some.")
    if unread:
        click.echo(f"{unread:,} of {done:,} pictures could not be read", err=True)
        context.exit(UNREAD)


def _predictor(
    model: Path,
    classes: Path | None,
    student: "ModelParams | None",
    teacher: "ModelParams | None",
) -> "Predictor":
    """Load the model; a tower takes one thread, since as many pictures are classified at once."""
    if classes is None:
        from fdbpl.serving.predictor import load_predictor

        return load_predictor(model, threads=1)
    from fdbpl.data.names import read_names
    from fdbpl.serving.class_names import predictor_of_names
    from fdbpl.serving.model_folder import open_model

    names = read_names(classes, "--classes")
    return predictor_of_names(open_model(model), names, 1, student, teacher)
