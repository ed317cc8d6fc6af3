"""Write docs/results.md from the records: `python -m studies.results`."""

from pathlib import Path

import click

from fdbpl.cli.options import Command, params_option, workspace
from fdbpl.settings.params import read_params
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole
from fdbpl.system.machine import commit, machine
from studies.page import page
from studies.records import read_measures, read_photographs

PHOTOGRAPHS = Path("docs/photographs.json")


@click.command(cls=Command)
@params_option()
@click.option("--run", default=None, metavar="RUN", help="Read runs/RUN, not DVC's outputs.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("docs/results.md"),
    show_default=True,
    help="The page to write.",
)
@click.option(
    "--add", multiple=True, metavar="TITLE=FILE", help="Show this Markdown too; repeatable."
)
@click.option(
    "--photographs",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    help=f"What photographs say, below every sentence.  [default: {PHOTOGRAPHS}, if it is there]",
)
def main(
    params_path: Path,
    run: str | None,
    out: Path,
    add: tuple[str, ...],
    photographs: Path | None,
) -> None:
    """Write the page of results from the records: every method, protocol and interval.

    Datasets of params.yaml's `development` stand apart from evidence. What is added is what
    studies.ablation, bench.coverage and bench.train wrote.
    """
    params = read_params(params_path)
    measures = read_measures(workspace(run), params)
    code = commit("fdbpl", str(params_path))  # the records themselves may be new
    about = f"commit {code or 'unknown'}, on {', '.join(machine())}"
    if photographs is None and PHOTOGRAPHS.is_file():
        photographs = PHOTOGRAPHS
    held = read_photographs(photographs) if photographs else []
    write_whole(out, page(params, measures, about, dict(map(_added, add)), held).encode())
    click.echo(f"Written: {out}")


def _added(text: str) -> tuple[str, str]:
    title, _, path = text.partition("=")
    if not (title and Path(path).is_file()):
        raise UserError(f"--add is {text!r}, wanted TITLE=FILE of a file that is there.")
    return title, Path(path).read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
