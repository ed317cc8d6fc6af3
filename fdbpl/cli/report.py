"""The command `fdbpl report`."""

from pathlib import Path

import click

from fdbpl.cli.options import UserPath, params_option, run_option, workspace
from fdbpl.settings.params import read_params
from fdbpl.system.errors import UserError


@click.command()
@click.argument("model", required=False, type=UserPath())
@click.option("--out", type=UserPath(), required=True, help="The HTML to write.")
@params_option()
@run_option("Of runs/RUN, not DVC's outputs.")
@click.option("--method", help="Looked at closely; fdbpl by default.")
@click.option("--seed", type=int, help="Of its training; the first by default.")
@click.option(
    "--pictures",
    type=UserPath(file_okay=False),
    help="Of a MODEL: a folder of class folders, whose surest mistakes are shown.",
)
def report(
    model: Path | None,
    out: Path,
    params_path: Path,
    run: str | None,
    method: str | None,
    seed: int | None,
    pictures: Path | None,
) -> None:
    """Write one HTML file about a run, or about the MODEL that fdbpl learn wrote.

    It needs nothing but a browser, and says how often each class is found, what it is taken for,
    and shows the surest mistakes as pictures; of a run also the comparison of all methods, regions
    with what teacher and student say, and the loss by epoch.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out is {str(out)!r}, wanted a name that ends in .html.")
    if model is None:
        if pictures is not None:
            raise UserError(
                "--pictures is for a MODEL, and none is named. Name one, or leave it out."
            )
        from fdbpl.stages.report import report as report_run

        click.echo(report_run(read_params(params_path), workspace(run), out, method, seed))
        return
    for option, value in (("--run", run), ("--method", method), ("--seed", seed)):
        if value is not None:
            raise UserError(
                f"{option} is for a run, and {model} is a model. Leave out one of them."
            )
    from fdbpl.serving.report import report_model

    click.echo(report_model(model, out, pictures))
