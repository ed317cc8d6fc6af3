"""Seconds of a whole training, method by method: python -m bench.train --json train.json

Plans and caches one drawn dataset in a folder of its own, with the parameters of params.yaml, then
trains every method of them for one seed alone and for all seeds in one pass.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch

from bench import finding
from fdbpl.clip.model import load_model
from fdbpl.methods.bridged import BRIDGE
from fdbpl.methods.knowledge import MEMORY
from fdbpl.methods.prompts import SIDES
from fdbpl.methods.registry import title_of
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params, read_params
from fdbpl.stages import run_stage
from fdbpl.stages.sides import sides_of
from fdbpl.stages.tasks import tasks_of
from fdbpl.stages.train_student import data_of
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import Learned, learn_method

KNOWN = (MEMORY, BRIDGE)


def prepared(params: Params, dataset: str, folder: Path) -> Params:
    """Run what comes before training, with all data below `folder`."""
    raw = params.model_dump()
    raw["data"]["root"], raw["cache"]["store"] = str(folder / "data"), str(folder / "store")
    own = check_params(raw)
    for stage in ("prepare_crops", "cache_teacher"):
        run_stage(stage, own, Workspace(folder), dataset)
    return own


def timed(
    params: Params, dataset: str, work: Workspace, method: str
) -> tuple[float, dict[int, Learned]]:
    """Learn on all seeds of the parameters in one pass; return the seconds, and what came of it."""
    plan, clip = Plan.load(work.plan(dataset)), load_model(params.student, "student")
    sides, chosen = sides_of(params, plan, work, clip), params.method(method)
    side, teacher = sides[chosen.sees], sides["teacher"]
    data = data_of(params, tasks_of(params, plan)[0], clip, side, teacher, chosen.sees)
    start = time.perf_counter()
    learned = learn_method(chosen, data, params.train)
    return time.perf_counter() - start, learned


def rows_of(params: Params, dataset: str, work: Workspace) -> list[dict[str, Any]]:
    """Train every method, and say how long it took and how many numbers came of it."""
    shots = len(tasks_of(params, Plan.load(work.plan(dataset)))[0].picks[params.seeds[0]])
    steps = params.train.epochs * (shots // params.train.batch or 1)
    rows = []
    for method in [one.name for one in params.chosen_methods if one.takes_steps]:
        for seeds in dict.fromkeys((tuple(params.seeds[:1]), tuple(params.seeds))):
            chosen = params.model_copy(update={"seeds": list(seeds)})
            seconds, learned = timed(chosen, dataset, work, method)
            one = learned[seeds[0]]
            rows.append(
                {
                    "method": title_of(method),
                    "seeds": len(seeds),
                    "steps": steps * len(seeds),
                    "seconds": seconds,
                    "steps_per_second": steps * len(seeds) / seconds,
                    "learned": sum(one.arrays[side].size for side in SIDES if side in one.arrays),
                    "remembered": sum(one.arrays[x].size for x in KNOWN if x in one.arrays),
                }
            )
    return rows


@click.command()
@click.option("--params", "source", type=click.Path(path_type=Path), default=Path("params.yaml"))
@click.option("--dataset", default="textures", show_default=True)
@click.option("--epochs", type=int, help="Other than the parameters' own.")
@click.option("--online", is_flag=True, help="Both towers at every step.")
@click.option("--threads", default=1, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(
    source: Path, dataset: str, epochs: int | None, online: bool, threads: int, path: Path
) -> None:
    """Measure whole trainings on one dataset's caches."""
    torch.set_num_threads(threads)
    raw = read_params(source).model_dump()
    if epochs is not None:
        raw["train"]["epochs"] = epochs
    if online:
        raw["teacher"]["mode"] = raw["student"]["features"] = "online"
    with tempfile.TemporaryDirectory() as folder:
        params = prepared(check_params(raw), dataset, Path(folder))
        rows = rows_of(params, dataset, Workspace(Path(folder)))
    towers = "online" if online else "cached"
    asked = {"dataset": dataset, "epochs": epochs, "threads": threads}
    click.echo(section(finding.save(path, "train", asked, towers=towers, rows=rows)))


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    heads = {"method": "method", "seeds": "seeds", "steps": "steps", "seconds": "seconds",
             "steps_per_second": "steps/s", "learned": "learned numbers",
             "remembered": "remembered numbers"}  # fmt: skip
    about = f"{finding.source(found)} Image towers: {found['towers']}."
    return f"{about}\n\n{finding.rows(heads, found['rows'])}"


if __name__ == "__main__":
    main()
