"""The command `fdbpl init`."""

import shlex
from pathlib import Path

import click

from fdbpl.cli.options import UserPath
from fdbpl.cli.preset import datasets_of, only_option, root_option
from fdbpl.settings.presets import preset as presets
from fdbpl.settings.project.project import make_project


@click.command()
@click.argument("folder", type=UserPath())
@click.option(
    "--preset",
    "name",
    default="playground",
    show_default=True,
    metavar="NAME",
    help="Of its parameters: what fdbpl preset NAME writes.",
)
@only_option
@root_option
def init(folder: Path, name: str, only: str | None, root: str | None) -> None:
    """Make FOLDER a project of your own, without a clone of fdbpl.

    It gets parameters, the stages for DVC and the deployments for Prefect, and becomes a git
    repository where it lies in none. Nothing that is there is overwritten. A path of --root that
    does not start with / starts in the folder where you run this.
    """
    place = None if root is None else str(Path(root).absolute())
    make_project(folder, presets.preset(name, datasets_of(only), place))
    click.echo(
        f"cd {shlex.quote(str(folder))}\n"
        "fdbpl estimate    # how long it will take\n"
        "dvc repro         # everything, and later what changed; or fdbpl up, then from Prefect"
    )
