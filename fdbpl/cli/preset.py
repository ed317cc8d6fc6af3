"""The command `fdbpl preset`."""

from pathlib import Path
from typing import Any

import click
from ruamel.yaml.error import YAMLError

from fdbpl.cli.options import params_option
from fdbpl.settings.presets import preset as presets
from fdbpl.settings.yaml_text import load_yaml
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole

only_option = click.option("--only", metavar="A,B", help="Limit the run to these datasets.")
root_option = click.option(
    "--root", metavar="DIR", help="Holds CoOp's dataset folders, or your classes'."
)


@click.command()
@click.argument("name", metavar="|".join(presets.NAMES))
@only_option
@root_option
@params_option("The file to write.")
def preset(name: str, only: str | None, root: str | None, params_path: Path) -> None:
    """Write the parameters of a whole run, and say what changed.

    playground: the drawn datasets and the tiny models. eleven: the field's eleven benchmarks and
    four shifted ImageNets, ViT-B/32 taught by ViT-H/14. eleven-b16: the same, ViT-B/16 taught by
    ViT-L/14. few-shot: the eleven from 1, 2, 4, 8 and 16 shots of every class. few-shot-drawn: the
    same of the drawn ones. folder: pictures of your own, in --root a folder for each class, with
    the packaged small pair. The file that was there is kept beside the new one, unless it is a
    preset as shipped.
    """
    chosen = datasets_of(only)
    text = presets.preset(name, chosen, root)
    before = _read(params_path)
    if before == text:
        click.echo(f"{params_path}: is preset {name} already")
        return
    kept = None
    if before is not None and before not in map(presets.shipped, presets.NAMES):
        kept = _keep(params_path, before)
    write_whole(params_path, text.encode())
    click.echo(f"{params_path}: preset {name}" + (f", only {', '.join(chosen)}" if chosen else ""))
    if kept is not None:
        click.echo(f"kept what was there: {kept}")
    after = load_yaml(text)
    for line in presets.changes(_keys(before), after) or ["  comments alone differ"]:
        click.echo(line)
    whole = load_yaml(presets.shipped(name))
    if "transfer" in whole["protocols"] and "transfer" not in after["protocols"]:
        click.echo("no transfer: its source, or every target, is not among --only")


def datasets_of(only: str | None) -> list[str]:
    """Return the datasets that `--only` names; none where it is not given.

    Raises:
        UserError: it is given and names none.
    """
    chosen = only.replace(",", " ").split() if only is not None else []
    if only is not None and not chosen:
        raise UserError(f"--only is {only!r}, wanted names of datasets such as dtd,eurosat.")
    return chosen


def _read(path: Path) -> str | None:
    """Return what stands there, as text; bytes that are no UTF-8 come back as they were."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None


def _keep(path: Path, text: str) -> Path:
    """Write what stood there beside it, under a name that keeps nothing else; return the name."""
    number = 1
    while True:
        kept = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        found = _read(kept)
        if found == text:
            return kept
        if found is None:
            write_whole(kept, text.encode("utf-8", "surrogateescape"))
            return kept
        number += 1


def _keys(text: str | None) -> dict[str, Any]:
    """Return a file's keys; of what is no YAML, or no keys, none."""
    try:
        found = load_yaml(text or "")
    except YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
