"""Seconds of a whole training, method by method: python -m bench.train --json train.json

Plans and caches one drawn dataset in a folder of its own, with the parameters of params.yaml, then
trains every method of them for one seed alone and for all seeds in one pass.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from fdbpl.methods.names import TRAINED
from rich.console import Console
from rich.table import Table

from fdbpl.clip.model import load_model
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params, read_params
from fdbpl.stages import run_stage
from fdbpl.stages.sources import student_source, teacher_source
from fdbpl.stages.train_student import task_of
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import learn
from fdbpl.training.schedule import epoch_batches


def prepared(params: Params, dataset: str, folder: Path) -> Params:
    """Run what comes before training, with all data below `folder`."""
    raw = params.model_dump()
    raw["data"]["root"], raw["cache"]["store"] = str(folder / "data"), str(folder / "store")
    own = check_params(raw)
    for stage in ("prepare_crops", "cache_teacher"):
        run_stage(stage, own, Workspace(folder), dataset)
    return own


def steps_of(params: Params, plan: Plan, seed: int) -> int:
    """Steps of one seed's training."""
    images = np.asarray(plan.shots[seed])
    batches = epoch_batches(images, crops=plan.crops, batch=params.train.batch, epoch=0, seed=seed)
    return params.train.epochs * sum(1 for _ in batches)


def rows_of(params: Params, dataset: str, work: Workspace) -> list[dict[str, Any]]:
    """Train every method, and say how long it took."""
    plan, clip = Plan.load(work.plan(dataset)), load_model(params.student, "student")
    sources = student_source(params, plan, work, clip), teacher_source(params, plan, work)
    rows = []
    for method in [name for name in params.methods if name in TRAINED]:
        for seeds in dict.fromkeys((tuple(params.seeds[:1]), tuple(params.seeds))):
            chosen = params.model_copy(update={"seeds": list(seeds)})
            task = task_of(chosen, plan, clip, *sources)
            start = time.perf_counter()
            learn(clip, **task, method=method, options=params.objectives.get(method))
            seconds = time.perf_counter() - start
            steps = steps_of(params, plan, seeds[0])
            rows.append(
                {
                    "dataset": dataset,
                    "method": method,
                    "classes": len(plan.base),
                    "seeds": len(seeds),
                    "steps": steps * len(seeds),
                    "seconds": seconds,
                    "steps_per_second": steps * len(seeds) / seconds,
                    "teacher": params.teacher.mode,
                    "student": params.student.features,
                }
            )
    return rows


def table(rows: list[dict[str, Any]], title: str) -> Table:
    shown = Table(title=title)
    for head in ("method", "seeds", "steps", "seconds", "steps/s"):
        shown.add_column(head, justify="left" if head == "method" else "right")
    for r in rows:
        shown.add_row(r["method"], str(r["seeds"]), f"{r['steps']:,}", f"{r['seconds']:.2f}",
                      f"{r['steps_per_second']:,.0f}")  # fmt: skip
    return shown


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
    write_whole(path, readable_json(rows))
    Console(stderr=True).print(table(rows, f"{dataset}, {params.train.epochs} epochs"))


if __name__ == "__main__":
    main()
