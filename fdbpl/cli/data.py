"""The commands about data: `fdbpl data check`, `fdbpl data picks` and `fdbpl data fetch`."""

from pathlib import Path

import click

from fdbpl.cli.options import UserPath, params_option, shots_of, whole_numbers
from fdbpl.data.params import DataParams
from fdbpl.settings.params import DEFAULT_PATH, SEEDS, SHOTS, Params, read_params
from fdbpl.system.errors import UserError

PROBLEMS_FOUND = 1

_THEN = "Then: fdbpl data check"


@click.group()
def data() -> None:
    """Look after datasets on disk."""


_ROOT = click.option(
    "--root",
    type=UserPath(path_type=str),
    metavar="DIR",
    help="Holds CoOp's dataset folders, instead of data.root.",
)
_PARAMS = params_option(f"The parameters; {DEFAULT_PATH} where there is one.", default=None)


@data.command("check")
@click.argument("dataset")
@_ROOT
@_PARAMS
@click.option("--all", "every", is_flag=True, help="Name every case of a problem, not three.")
@click.pass_context
def data_check(
    context: click.Context, dataset: str, root: str | None, params_path: Path | None, every: bool
) -> None:
    """Say what there is of DATASET, what is missing and what is wrong.

    Opens every image; reads the vocabulary and the table of picks, where the parameters name one.
    A class needs as many training images as the parameters have shots.
    Ends with exit code 0 when all is well, 1 when problems were found, 2 when
    the dataset cannot be read.
    """
    from fdbpl.data.check import SHOWN, check, look_at
    from fdbpl.data.disk import other_suffixes
    from fdbpl.data.names import read_vocabulary
    from fdbpl.data.published import PUBLISHED
    from fdbpl.data.registry import given_picks, open_dataset
    from fdbpl.system.progress import progress

    params = _read(params_path)
    where = _data_params(dataset, root, params)
    found = open_dataset(dataset, where)
    given_picks(found, where)
    if where.vocabulary is not None:
        read_vocabulary(where.vocabulary)
    with progress(f"{dataset}: looking at images") as report:
        look = look_at(found, report)
    others = other_suffixes(found.folder) if dataset in where.own else {}
    counts = params.counts if params else [SHOTS]
    shots = max((count for count in counts if count != "all"), default=1)
    checked = check(found, look, PUBLISHED.get(dataset, {}), others, shots=shots)
    click.echo("\n".join(checked.lines(None if every else SHOWN)))
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
    from fdbpl.data.fetch import DEFAULT, fetch, offer

    place = Path(_data_params(dataset, root, _read(params_path), made=True).root)
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


@data.command("picks")
@click.argument("dataset")
@click.option(
    "--out",
    type=UserPath(dir_okay=False),
    required=True,
    help="The CSV file to write.",
)
@click.option("--shots", metavar="N|all", help="Images of each class, instead of shots.")
@click.option("--seeds", metavar="N,N", help="Instead of seeds.")
@_ROOT
@_PARAMS
def data_picks(
    dataset: str,
    out: Path,
    shots: str | None,
    seeds: str | None,
    root: str | None,
    params_path: Path | None,
) -> None:
    """Write the few-shot picks of DATASET as a table: image, class, split, shot seed.

    The images that each seed learns from, of all classes, as the stages choose them; then the
    images they are tested on. data.picks brings such a table in.
    """
    from fdbpl.data.picks import picks_table
    from fdbpl.data.registry import given_picks, open_dataset
    from fdbpl.regions.planning import choose_shots
    from fdbpl.system.files import write_whole

    params = _read(params_path)
    usual_shots, usual_seeds = (params.counts[-1], params.seeds) if params else (SHOTS, SEEDS)
    where = _data_params(dataset, root, params)
    found = open_dataset(dataset, where)
    picks = choose_shots(
        found,
        shots=shots_of(shots) if shots else usual_shots,
        seeds=whole_numbers("--seeds", seeds) if seeds else usual_seeds,
        given=given_picks(found, where),
    )
    write_whole(out, picks_table(found, picks))
    click.echo(
        f"{dataset}: {', '.join(f'{len(items):,}' for items in picks.values())} images of seeds "
        f"{', '.join(map(str, picks))}, {len(found.test):,} test images. Written: {out}"
    )


def _read(path: Path | None) -> Params | None:
    """Read the parameters that are named, or those that are there; None where there are none."""
    return None if path is None and not DEFAULT_PATH.exists() else read_params(path or DEFAULT_PATH)


def _data_params(
    dataset: str, root: str | None, params: Params | None, *, made: bool = False
) -> DataParams:
    """Return the section `data`; without parameters there are no datasets of one's own.

    A `root` that is not there is a slip of the pen, unless it is `made` by the command.
    """
    where = DataParams() if params is None else params.data
    if root is None:
        return where
    if dataset in where.own:
        raise UserError(
            f"--root is {root!r}, but {dataset!r} lies where data.own.{dataset} says. Leave it out."
        )
    if not made and not Path(root).is_dir():
        raise UserError(f"--root is {root!r}: no such folder. Wanted one that holds datasets.")
    return where.model_copy(update={"root": root})
