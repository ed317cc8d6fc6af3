"""What commands share: options of several, and how what the user can mend is answered."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from fdbpl.clip.params import named_model
from fdbpl.settings.params import DEFAULT_PATH
from fdbpl.system.errors import INTERRUPTED, USER_MISTAKE, UserError, told
from fdbpl.system.workspace import Workspace

PARAMS = "fdbpl.params"
"""Under which a command's context keeps the file that --params names, where it is not the usual."""

Function = Callable[..., Any]


class Command(click.Command):
    """Turns what the user can mend into one line and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command, or say what is wrong."""
        try:
            return super().invoke(context)
        except (UserError, OSError) as error:
            line = told(error)
            if line is None:
                raise
            given = context.meta.get(PARAMS)
            if given is not None and given not in line:
                line += f" The parameters are {given}."
            click.echo(f"error: {line}", err=True)
            context.exit(USER_MISTAKE)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            context.exit(INTERRUPTED)


class UserPath(click.Path):
    """A path; where the shell left ~ as it was, as in --out=~/model, it is the home here."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"path_type": Path, **more})

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path, expanded and checked."""
        return super().convert(os.path.expanduser(value), param, ctx)  # noqa: PTH111 - or bytes


def params_option(about: str = "The parameters.", **more: Any) -> Callable[[Function], Function]:
    """Return the option `--params`, which a command takes as `params_path`."""
    given = {"default": DEFAULT_PATH, "show_default": True, **more}
    kind = UserPath()

    def note(context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
        if path not in (None, DEFAULT_PATH):
            context.meta[PARAMS] = str(path)
        return path

    return click.option("--params", "params_path", type=kind, callback=note, help=about, **given)


def run_option(about: str, default: str | None = None) -> Callable[[Function], Function]:
    """Return the option `--run`: of the folder runs/RUN."""
    shown = default is not None
    return click.option("--run", default=default, show_default=shown, metavar="RUN", help=about)


def model_option(role: str, about: str) -> Callable[[Function], Function]:
    """Return the option `--student` or `--teacher`: ARCHITECTURE:WEIGHTS, perhaps :ACTIVATION."""
    metavar = "ARCHITECTURE:WEIGHTS"
    return click.option(f"--{role}", metavar=metavar, callback=_model, help=about)


def _model(_context: click.Context, option: click.Parameter, given: str | None) -> Any:
    return None if given is None else named_model(given, f"--{option.name}")


def words(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> list[str]:
    """Take `--seeds 11,12 --seeds 13` and `--seeds "11 12 13"` alike."""
    return [word for text in given for word in text.replace(",", " ").split()]


def whole_numbers(option: str, text: str) -> list[int]:
    """Read `11,12` or `11 12`. Raises UserError, which names the option."""
    numbers = text.replace(",", " ").split()
    if not numbers or not all(re.fullmatch("[0-9]{1,9}", number) for number in numbers):
        raise UserError(f"{option} is {text!r}, wanted whole numbers such as 1,2,3.")
    return [int(number) for number in numbers]


def shots_of(text: str) -> int | Literal["all"]:
    """Read the option `--shots`. Raises UserError, which names it."""
    if text == "all":
        return "all"
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise UserError(f"--shots is {text!r}, wanted one whole number from 1 on, or all.")
    return int(text)


def run_workspace(run: str) -> Workspace:
    """Return runs/RUN."""
    if Path(run).name != run or run in ("", ".."):
        raise UserError(f"--run is {run!r}, wanted a plain name: the folder is runs/NAME.")
    return Workspace(Path("runs") / run)


def workspace(run: str | None) -> Workspace:
    """Return runs/RUN, or DVC's outputs where no run is given."""
    return Workspace(Path()) if run is None else run_workspace(run)


def repair_first() -> None:
    """Mend what a crash left, in a folder that is a project."""
    from flows import repair

    if repair.DVC_YAML.is_file():
        for line in repair.repair():
            click.echo(line)
