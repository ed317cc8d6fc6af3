"""Options of `fdbpl` in three worlds: python -m bench.development --json FILE [--vary KEY=VALUE]...

`fdbpl ablate` tries options on five development datasets. Here the same five kinds are drawn in
two further worlds too, and seen by other models: with three drawings averaged, five kinds of
dataset tell smaller differences apart.
Models that are missing are pre-trained first, twenty minutes a world on two cores.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np

from bench import finding
from bench.further_world import WORLDS, in_world, models_of
from fdbpl.ablation.ablate import SEEDS
from fdbpl.ablation.grid import REFERENCE, parse_factor, settings_of
from fdbpl.ablation.trials import Trials, run_trials
from fdbpl.evaluation.statistics import linearised_h, t_interval
from fdbpl.params import DEFAULT_PATH, read_params
from fdbpl.progress import progress

METHOD = "fdbpl"
VARIED = (
    "fdbpl.bridge_share=0,0.375,1.5",
    "fdbpl.template_share=0,4,16,800",
    "fdbpl.memory_share=0,0.25,1",
    "fdbpl.negative_share=0",
    "fdbpl.weight=none",
)


@click.command()
@click.option("--vary", multiple=True, default=VARIED, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(vary: tuple[str, ...], path: Path) -> None:
    """Run all settings in all worlds, and join what they say."""
    params = read_params(DEFAULT_PATH).model_copy(update={"seeds": list(SEEDS)})
    datasets, factors = params.development, [parse_factor(one) for one in vary]
    worlds = {"first": params} | {
        name: in_world(params, number, models_of(name)) for name, number in WORLDS.items()
    }
    trials = {}
    for name, here in worlds.items():
        settings = settings_of(here, factors, cross=False)
        with progress(f"{len(settings)} settings in the {name} world") as report:
            root = Path("runs/development") / name
            trials[name], _ = run_trials(settings, datasets, [METHOD], root, report)
    options = {} if vary == VARIED else {"vary": " --vary ".join(vary)}
    finding.save(path, "development", options, datasets=datasets, rows=joined(trials, datasets))


def joined(worlds: Mapping[str, Trials], datasets: Sequence[str]) -> list[dict[str, Any]]:
    """Return for every setting its averages, and their differences to the reference.

    The units are the kinds of dataset: drawings in all worlds, and seeds, are averaged first.
    """
    names = list(dict.fromkeys(name for trials in worlds.values() for name, _, _ in trials))

    def drawn(setting: str, dataset: str, half: str) -> float:
        runs = (trials[setting, dataset, METHOD].seeds.values() for trials in worlds.values())
        return fmean(run[half] for seeds in runs for run in seeds)

    def values(setting: str) -> dict[str, np.ndarray]:
        base, new = (
            np.array([drawn(setting, dataset, half) for dataset in datasets])
            for half in ("base", "new")
        )
        return {"base": base, "new": new, "h": linearised_h(base, new)}

    reference, found = values(REFERENCE), []
    for setting in names:
        here = values(setting)
        row: dict[str, Any] = {"setting": setting}
        row |= {measure: float(table.mean()) for measure, table in here.items()}
        for measure in ("new", "h"):
            gap = t_interval(here[measure] - reference[measure])
            row[f"{measure}_gap"] = str(gap) if setting != REFERENCE else ""
        found.append(row)
    return found


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/methods.md."""
    heads = {
        **{"setting": "setting", "base": "base", "new": "new", "h": "H"},
        **{"new_gap": "new - reference", "h_gap": "H - reference"},
    }
    how = (
        "Differences with 95 % t-intervals over kinds of dataset; drawings and seeds are averaged."
    )
    return f"{finding.source(found)} {how}\n\n{finding.rows(heads, found['rows'])}"


if __name__ == "__main__":
    main()
