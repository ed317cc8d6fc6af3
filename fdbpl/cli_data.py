"""The commands about data: `fdbpl data check`."""

from pathlib import Path

import click

from fdbpl.errors import UserError
from fdbpl.params import DEFAULT_PATH, DataParams, read_params

PROBLEMS_FOUND = 1


@click.group()
def data() -> None:
    """Look after datasets on disk."""


@data.command("check")
@click.argument("dataset")
@click.option("--root", metavar="DIR", help="Holds CoOp's dataset folders, instead of data.root.")
@click.option(
    "--params",
    "params_path",
    type=click.Path(path_type=Path),
    help=f"The parameters; {DEFAULT_PATH} where there is one.",
)
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


def _data_params(root: str | None, params_path: Path | None) -> DataParams:
    """Read the section `data`; without a file there are no datasets of one's own."""
    if params_path is None and not DEFAULT_PATH.exists():
        params = DataParams()
    else:
        params = read_params(params_path or DEFAULT_PATH).data
    return params if root is None else params.model_copy(update={"root": root})
