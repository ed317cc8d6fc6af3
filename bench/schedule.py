"""The same gain in the fewest seconds: python -m bench.schedule --json schedule.json

Trains one method under many settings of batch, epochs and learning rate on development datasets,
with development seeds, and asks which whole schedule, of those that keep 95 % of the gain over the
starting prompt that the standard settings of params.yaml reach, takes the fewest seconds. Datasets
that the standard settings gain less than a point on are left out, and named.
"""

import itertools
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import click
import torch
from fdbpl.methods.decision import Decision
from fdbpl.methods.table import trained_method
from rich.console import Console
from rich.progress import track

from bench import finding
from bench.train import prepared, steps_of
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.evaluation.accuracy import base_to_new, over_seeds
from fdbpl.methods.params import TrainParams
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params, read_params
from fdbpl.stages.caches import open_role
from fdbpl.stages.sources import student_source, teacher_source
from fdbpl.stages.train_student import task_of
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import class_vectors, learn

DATASETS = "icons,vehicles,dishes,scenes,landcover"
SEEDS = "11,12,13"
ALL = 4096  # a batch of all images there are
GRID = {16: (25, 10, 5), 32: (50, 20, 10, 5), ALL: (100, 50, 25, 15, 5)}  # epochs by batch
RATES = (1, 3, 10)  # times the standard rate
KEPT = 0.95
LEAST_GAIN = 1.0


@dataclass(frozen=True)
class Tried:
    """One setting on one dataset: seconds of the whole schedule, all seeds, and H."""

    seconds: float
    steps: int
    h: float


class Trial:
    """A dataset that is planned and cached, and everything to train and test on it."""

    def __init__(self, params: Params, dataset: str, method: str, work: Workspace, clip: ClipModel):
        self.params, self.clip, self.method = params, clip, method
        self.plan = Plan.load(work.plan(dataset))
        student, teacher = (
            student_source(params, self.plan, work, clip),
            teacher_source(params, self.plan, work),
        )
        self.task = task_of(params, self.plan, clip, student, teacher)
        self.teacher = teacher.vectors
        cache = open_role("student", params, self.plan, work)
        self.features, self.template = cache.features("test"), cache.text("template")
        self.labels = self.plan.images["label"][self.plan.test]
        start = Decision(cache.text("generic"), clip.logit_scale)
        self.start = self.h([start] * len(params.seeds))

    def h(self, decisions: Iterable[Decision]) -> float:
        """Return H of the seeds' mean accuracies under what decides."""
        plan = self.plan
        seeds = {
            str(seed): base_to_new(self.features, self.labels, one, plan.base, plan.new)
            for seed, one in zip(self.params.seeds, decisions, strict=True)
        }
        found = over_seeds(seeds)["h"]
        assert found is not None
        return found

    def run(self, train: TrainParams) -> Tried:
        """Train all seeds under these settings and test them; only training is timed."""
        options = self.params.objectives.get(self.method)
        task = {**self.task, "params": train}
        start = time.perf_counter()
        runs = learn(self.clip, **task, method=self.method, options=options)
        seconds = time.perf_counter() - start
        inference = trained_method(self.method, options).inference
        names = self.plan.class_names
        decisions = [
            inference.decision(
                class_vectors(self.clip, one.contexts, names),
                self.clip.logit_scale,
                names,
                template=self.template,
                teacher=self.teacher,
                memory=one.memory,
                learned_names=[names[label] for label in self.plan.base],
                bridge=one.bridge,
            )
            for one in runs.values()
        ]
        chosen = self.params.model_copy(update={"train": train})
        return Tried(seconds, steps_of(chosen, self.plan, self.params.seeds[0]), self.h(decisions))


def settings(standard: TrainParams) -> list[TrainParams]:
    """Return the standard settings first, then the grid, which has no slow first epoch."""

    def changed(batch: int, epochs: int, rate: float) -> TrainParams:
        lr = standard.lr * rate
        return standard.model_copy(
            update={"batch": batch, "epochs": epochs, "lr": lr, "warmup_lr": lr}
        )

    grid = [
        changed(batch, epochs, rate)
        for batch, counts in GRID.items()
        for epochs, rate in itertools.product(counts, RATES)
    ]
    return [standard, *grid]


def judged(
    tried: Sequence[tuple[TrainParams, dict[str, Tried]]], starts: dict[str, float]
) -> dict[str, Any]:
    """Return each setting's seconds and share of the standard gain, over the datasets that count.

    The first setting is the standard one.
    """
    standard = tried[0][1]
    gains = {name: standard[name].h - start for name, start in starts.items()}
    counted = [name for name, gain in gains.items() if gain >= LEAST_GAIN]
    rows = []
    for train, runs in tried:
        own = [runs[name].h - starts[name] for name in counted]
        seconds = sum(runs[name].seconds for name in counted)
        rows.append(
            {
                "batch": train.batch,
                "epochs": train.epochs,
                "lr": train.lr,
                "steps": max((runs[name].steps for name in counted), default=0),
                "seconds": seconds,
                "h": mean(runs[name].h for name in counted) if counted else None,
                "share": sum(own) / sum(gains[name] for name in counted) if counted else None,
            }
        )
    for row in rows:
        row["faster"] = rows[0]["seconds"] / row["seconds"] if counted else None
    kept = [row for row in rows if counted and row["share"] >= KEPT]
    return {
        "gains": gains,
        "counted": counted,
        "rows": rows,
        "fastest": min(kept, key=lambda row: row["seconds"]) if kept else None,
    }


@click.command()
@click.option("--params", "source", type=click.Path(path_type=Path), default=Path("params.yaml"))
@click.option("--datasets", default=DATASETS, show_default=True)
@click.option("--seeds", default=SEEDS, show_default=True)
@click.option(
    "--method", default="fdbpl_prompts", show_default=True, help="Learned by steps alone."
)
@click.option("--epochs", type=int, help="Of the standard settings, other than the parameters'.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(
    source: Path, datasets: str, seeds: str, method: str, epochs: int | None, path: Path
) -> None:
    """Try all settings on all datasets; one thread, so that seconds compare."""
    torch.set_num_threads(1)
    raw = read_params(source).model_dump()
    raw |= {"datasets": datasets.split(","), "seeds": [int(one) for one in seeds.split(",")]}
    raw |= {"transfer": None, "development": []}
    if epochs is not None:
        raw["train"]["epochs"] = epochs
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        for name in raw["datasets"]:
            params = prepared(check_params(raw), name, folder)
        clip = load_model(params.student, "student")
        trials = {
            name: Trial(params, name, method, Workspace(folder), clip) for name in params.datasets
        }
        next(iter(trials.values())).run(params.train.model_copy(update={"epochs": 2}))  # warm
        tried = [
            (train, {name: trial.run(train) for name, trial in trials.items()})
            for train in track(settings(params.train), console=Console(stderr=True))
        ]
    starts = {name: trial.start for name, trial in trials.items()}
    options = {"datasets": datasets, "seeds": seeds, "method": method, "epochs": epochs}
    found = finding.save(path, "schedule", options, method=method, **judged(tried, starts))
    Console(stderr=True, width=120).print(section(found))


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    rows = found["rows"]
    shown = [rows[0], *sorted((r for r in rows[1:]), key=lambda r: r["seconds"])]
    lines = [
        {
            **row,
            "batch": "all" if row["batch"] == ALL else str(row["batch"]),
            "share": None if row["share"] is None else f"{row['share']:.0%}",
            "name": "standard" if row is rows[0] else "",
        }
        for row in shown
    ]
    heads = {"name": "", "batch": "batch", "epochs": "epochs", "lr": "lr", "steps": "steps",
             "seconds": "seconds", "faster": "times faster", "h": "H",
             "share": "share of the gain"}  # fmt: skip
    left_out = [name for name in found["gains"] if name not in found["counted"]]
    gains = ", ".join(f"{name} {gain:+.2f}" for name, gain in found["gains"].items())
    return "\n\n".join(
        [
            finding.source(found),
            f"Gain of `{found['method']}` over the starting prompt under the standard settings, in "
            f"points of H: {gains}. Left out, with a gain under {LEAST_GAIN:.0f} point: "
            f"{', '.join(left_out) or 'none'}.",
            _verdict(found["fastest"], rows),
            finding.rows(heads, lines),
        ]
    )


def _verdict(fastest: dict[str, Any] | None, rows: list[dict[str, Any]]) -> str:
    """Say which schedule is the fastest that will do, and how far those ten times faster come."""
    if fastest is None:
        return "No dataset gains enough to tell."
    standard = rows[0]
    batch = "all images" if fastest["batch"] == ALL else fastest["batch"]
    return (
        f"The fastest schedule with at least {KEPT:.0%} of the gain: batch {batch}, "
        f"{fastest['epochs']} epochs, lr {fastest['lr']:g}: {fastest['seconds']:.2f} s against "
        f"{standard['seconds']:.2f} s, {fastest['faster']:.1f} times fewer. {_at_a_tenth(rows)}"
    )


def _at_a_tenth(rows: list[dict[str, Any]]) -> str:
    """Say how much of the gain the schedules of a tenth of the steps keep at best."""
    few = [row for row in rows if 10 * row["steps"] <= rows[0]["steps"]]
    if not few:
        return ""
    best = max(few, key=lambda row: row["share"])
    return (
        f"With a tenth of the steps, whatever the batch and the rate, {best['share']:.0%} of the "
        f"gain is kept at best: what counts is the number of steps."
        if best["share"] < KEPT
        else f"A tenth of the steps keeps {best['share']:.0%}."
    )


if __name__ == "__main__":
    main()
