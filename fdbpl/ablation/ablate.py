"""From a grid to its report: run what is new, compare, write the tables and the picture."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fdbpl.ablation import report
from fdbpl.ablation.grid import Factor, default_factors, settings_of
from fdbpl.ablation.summary import Row, summarise
from fdbpl.ablation.trials import run_trials
from fdbpl.evaluation.statistics import COVERAGE
from fdbpl.methods.options import PRESETS
from fdbpl.methods.registry import METHODS
from fdbpl.settings.params import Params
from fdbpl.system.errors import UserError
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.progress import progress

TRAINED = tuple(one.name for one in METHODS.values() if one.takes_steps)
SEEDS = (11, 12, 13)
"""Seeds that choices are made with: other shots than those evidence is taken from."""

COMPARED = ("kdpl", "fdbpl")
"""The preset that is chosen, and the method it builds on."""


@dataclass(frozen=True)
class Ablation:
    """The rows, the files they were written to, and what to tell the user."""

    rows: list[Row]
    files: tuple[Path, ...]
    lines: list[str]


def ablate(
    params: Params,
    factors: Sequence[Factor],
    root: Path,
    *,
    cross: bool = False,
    datasets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    methods: Sequence[str] = (),
) -> Ablation:
    """Run a grid around `params`, and write `ablation.json`, `.md` and `.png` into `root`.

    Args:
        params: the reference.
        factors: what varies; by default the built-in grid.
        root: folder of this ablation; trials that it holds are not run again.
        cross: take the product of the factors, not one at a time.
        datasets: by default the development datasets.
        seeds: by default 11, 12, 13.
        methods: by default KDPL, `fdbpl`, and every preset that a factor names.

    Raises:
        UserError: nothing to learn on, a method without training, or what the grid or the stages
            raise.
    """
    datasets = datasets or [name for name in params.development if name in params.datasets]
    if not datasets:
        lists = ", ".join(params.development)
        found = (
            f"none of development ({lists}) is among datasets"
            if lists
            else "no development datasets"
        )
        raise UserError(f"params.yaml: {found}. Add datasets there, or say --datasets.")
    factors = factors or default_factors(params)
    named = [factor.key.partition(".")[0] for factor in factors]
    methods = list(methods) or [
        name for name in METHODS if name in COMPARED or (name in PRESETS and name in named)
    ]
    for name in methods:
        if name not in TRAINED:
            raise UserError(f"--methods is {name!r}, wanted among {', '.join(TRAINED)}.")
    reference = params.model_copy(update={"seeds": list(seeds or SEEDS)})
    settings = settings_of(reference, factors, cross=cross)
    with progress(f"{len(settings)} settings on {len(datasets)} datasets") as follow:
        trials, ran = run_trials(settings, datasets, methods, root, follow)
    count = len({trial.key for trial in trials.values()})
    rows = summarise(settings, datasets, methods, trials)
    unused = sorted({one.name for one in settings} - {row.setting for row in rows})
    files = _write(rows, datasets, reference.seeds, root)
    return Ablation(
        rows,
        files,
        [
            report.results_table(rows),
            "",
            f"{len(datasets)} datasets ({', '.join(datasets)}), seeds "
            f"{', '.join(map(str, reference.seeds))}; per cent. H is that of the averages, joint H "
            "where all classes compete. Differences are paired by dataset, seeds averaged first, "
            f"with their {COVERAGE} % t-interval over datasets; * marks one without 0.",
            *(f"No method here reads {name}." for name in unused),
            f"{ran} of {count} trials were new, each of all seeds. Written: {files[0]}, .md, .png",
        ],
    )


def _write(
    rows: list[Row], datasets: Sequence[str], seeds: Sequence[int], root: Path
) -> tuple[Path, ...]:
    picture = io.BytesIO()
    report.plot(rows, picture)
    text = f"{report.results_table(rows)}\n\n{report.gradients_table(rows)}\n"
    contents = {
        "json": readable_json(report.as_json(rows, datasets, seeds)),
        "md": text.encode(),
        "png": picture.getvalue(),
    }
    files = tuple(root / f"ablation.{suffix}" for suffix in contents)
    for file, data in zip(files, contents.values(), strict=True):
        write_whole(file, data)
    return files
