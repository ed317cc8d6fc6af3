"""Measure what each part of the method earns: `python -m studies.ablation`."""

from collections.abc import Sequence
from pathlib import Path

import click

from fdbpl.cli.options import Command, params_option, whole_numbers, words, workspace
from fdbpl.evaluation.statistics import COVERAGE
from fdbpl.methods.options import PRESETS
from fdbpl.methods.registry import METHODS as KNOWN
from fdbpl.settings.params import Params, read_params
from fdbpl.system.errors import UserError
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.machine import commit
from fdbpl.system.progress import progress
from studies.ablation import report
from studies.ablation.grid import DEFAULT, parse_factor, settings_of
from studies.ablation.summary import Row, summarise
from studies.ablation.trials import run_trials

SEEDS = (11, 12, 13)
"""Seeds that choices are made with: other shots than those evidence is taken from."""

METHODS = ("kdpl", "fdbpl")
"""The preset that is chosen, and the method it builds on; beside them presets that vary."""


@click.command(cls=Command)
@params_option()
@click.option("--vary", multiple=True, metavar="KEY=V,V", help="A key and its values; repeatable.")
@click.option("--cross", is_flag=True, help="Take the product of all --vary, not one at a time.")
@click.option("--datasets", multiple=True, callback=words, help="Not the development datasets.")
@click.option("--seeds", multiple=True, callback=words, help="Not 11,12,13.")
@click.option("--methods", multiple=True, callback=words, help="Not kdpl,fdbpl.")
@click.option("--run", default="ablate", show_default=True, metavar="RUN", help="Work in runs/RUN.")
def main(
    params_path: Path,
    vary: tuple[str, ...],
    cross: bool,
    datasets: list[str],
    seeds: list[str],
    methods: list[str],
    run: str,
) -> None:
    """Measure what each part earns, around params.yaml, on its development datasets.

    A KEY is one of params.yaml (train.batch, regions.scale) or an option of a preset
    (fdbpl.second_weight); a VALUE is written as in YAML, a pair as 0.08:1. Without --vary a grid
    over regions, payload and every option of the preset fdbpl is taken.
    """
    params = read_params(params_path)
    factors = [parse_factor(text) for text in vary or DEFAULT]
    datasets = datasets or _development(params)
    named = {factor.key.partition(".")[0] for factor in factors}
    trained = [name for name, method in KNOWN.items() if method.takes_steps]
    methods = methods or [name for name in trained if name in {*METHODS, *(named & {*PRESETS})}]
    if unknown := [name for name in methods if name not in trained]:
        raise UserError(f"--methods is {unknown[0]!r}, wanted among {', '.join(trained)}.")
    chosen = whole_numbers("--seeds", " ".join(seeds)) if seeds else [*SEEDS]
    reference = params.model_copy(update={"seeds": chosen})
    settings = settings_of(reference, factors, cross=cross)
    root = workspace(run).root
    with progress(f"{len(settings)} settings on {len(datasets)} datasets") as follow:
        trials = run_trials(settings, datasets, methods, root, follow)
    rows = summarise(settings, datasets, methods, trials)
    note = (
        f"{len(datasets)} datasets ({', '.join(datasets)}), seeds "
        f"{', '.join(map(str, reference.seeds))}; per cent. H is that of the averages, joint H "
        "where all classes compete. Differences are paired by dataset, seeds averaged first, "
        f"with their {COVERAGE} % t-interval over datasets; * marks one without 0. "
        f"By `python -m studies.ablation`, commit {commit('fdbpl', 'studies') or 'unknown'}."
    )
    files = write(rows, datasets, reference.seeds, note, root)
    click.echo(f"{report.results_table(rows)}\n\n{note}")
    for name in sorted({one.name for one in settings} - {row.setting.name for row in rows}):
        click.echo(f"No method here reads {name}.")
    click.echo(f"Written: {files[0]}, .md, .png")


def _development(params: Params) -> list[str]:
    if found := [name for name in params.development if name in params.datasets]:
        return found
    named = ", ".join(params.development)
    why = f"none of development ({named}) is among datasets" if named else "no development datasets"
    raise UserError(f"params.yaml: {why}. Add datasets there, or say --datasets.")


def write(
    rows: Sequence[Row], datasets: Sequence[str], seeds: Sequence[int], note: str, root: Path
) -> list[Path]:
    """Write `ablation.json`, `.md` and `.png` into the ablation's folder; return their paths."""
    tables = (report.results_table(rows), note, report.gradients_table(rows))
    contents = {
        "json": readable_json(
            {"datasets": datasets, "seeds": seeds, "rows": [row.as_json() for row in rows]}
        ),
        "md": ("\n\n".join(tables) + "\n").encode(),
        "png": report.plot(rows),
    }
    files = [root / f"ablation.{suffix}" for suffix in contents]
    for file, data in zip(files, contents.values(), strict=True):
        write_whole(file, data)
    return files


if __name__ == "__main__":
    main()
