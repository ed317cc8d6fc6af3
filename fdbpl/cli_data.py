"""The commands about data: `fdbpl data check` and `fdbpl data fetch`."""

from pathlib import Path

import click

from fdbpl.errors import UserError
from fdbpl.params import DEFAULT_PATH, DataParams, read_params

PROBLEMS_FOUND = 1

_THEN = "Then: fdbpl data check"


@click.group()
def data() -> None:
    """Look after datasets on disk."""


_ROOT = click.option(
    "--root", metavar="DIR", help="Holds CoOp's dataset folders, instead of data.root."
)
_PARAMS = click.option(
    "--params",
    "params_path",
    type=click.Path(path_type=Path),
    help=f"The parameters; {DEFAULT_PATH} where there is one.",
)


@data.command("check")
@click.argument("dataset")
@_ROOT
@_PARAMS
@click.pass_context
def data_check(
    context: click.Context, dataset: str, root: str | None, params_path: Path | None
) -> None:
    """Say what there is of DATASET, what is missing and what is wrong.

    Opens every image. Ends with exit code 0 when all is well, 1 when problems were found, 2 when
    the dataset cannot be read.
    """
    from fdbpl.benchmarks.check import check
    from fdbpl.benchmarks.listing import other_suffixes
    from fdbpl.benchmarks.look import look_at
    from fdbpl.benchmarks.published import PUBLISHED
    from fdbpl.benchmarks.registry import open_dataset
    from fdbpl.progress import progress

    params = _data_params(root, params_path)
    if dataset in params.own and root is not None:
        raise UserError(
            f"--root is {root!r}, but {dataset!r} lies where data.own.{dataset} says. Leave it out."
        )
    found = open_dataset(dataset, params)
    with progress(f"{dataset}: looking at images") as report:
        look = look_at(found, report)
    others = other_suffixes(found.folder) if dataset in params.own else {}
    checked = check(found, look, PUBLISHED.get(dataset, {}), others)
    click.echo("\n".join(checked.lines()))
    context.exit(0 if checked.is_sound else PROBLEMS_FOUND)


@data.command("fetch")
@click.argument("dataset")
@_ROOT
@_PARAMS
@click.option("--mirror", metavar="OWNER/NAME", help="Another repository on the hub.")
@click.option("--yes", is_flag=True, help="Agree to the terms, and do not ask.")
def data_fetch(
    dataset: str, root: str | None, params_path: Path | None, mirror: str | None, yes: bool
) -> None:
    """Fetch DATASET from a public mirror into data.root, in CoOp's layout.

    Shows the licence first. An interrupted fetch goes on where it was; a dataset that is there
    is left as it is. Another hub may be named by HF_ENDPOINT.
    """
    from fdbpl.mirror.fetch import DEFAULT, fetch, offer

    place = Path(_data_params(root, params_path).root)
    if (place / dataset).exists():
        click.echo(f"{dataset}: {place / dataset} is there, nothing to fetch. {_THEN} {dataset}")
        return
    found = offer(dataset, mirror or DEFAULT)
    click.echo("\n".join(found.lines()))
    if not yes:
        try:
            agreed = click.confirm(f"Fetch it into {place / dataset}?")
        except click.Abort:
            raise UserError("nobody there to answer. Give --yes to agree.") from None
        if not agreed:
            click.echo("Nothing fetched.")
            return
    click.echo(f"{dataset}: {fetch(found, place)}. {_THEN} {dataset}")


def _data_params(root: str | None, params_path: Path | None) -> DataParams:
    """Read the section `data`; without a file there are no datasets of one's own."""
    if params_path is None and not DEFAULT_PATH.exists():
        params = DataParams()
    else:
        params = read_params(params_path or DEFAULT_PATH).data
    return params if root is None else params.model_copy(update={"root": root})
