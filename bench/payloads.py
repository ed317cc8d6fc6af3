"""What each payload of the cache costs and loses: python -m bench.payloads

Plans, caches, trains and evaluates the development datasets of params.yaml once for each payload,
in runs/payloads, and writes docs/payloads.md. What was measured before is not measured again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from fdbpl.ablation.ablate import SEEDS
from fdbpl.ablation.grid import Factor, Setting, settings_of
from fdbpl.ablation.report import spell_gap
from fdbpl.ablation.summary import Row, summarise
from fdbpl.ablation.trials import inputs_workspace, run_trials
from fdbpl.cache.cache import Cache
from fdbpl.cache.manifest import Identity
from fdbpl.cache.payload import ClassList, make_payload
from fdbpl.evaluation.rejection import log_softmax
from fdbpl.files import write_whole
from fdbpl.machine import machine
from fdbpl.params import DEFAULT_PATH, Params, read_params
from fdbpl.payload_names import is_of_classes
from fdbpl.progress import progress
from fdbpl.regions.plan import Plan
from fdbpl.reporting.tables import TITLES, markdown
from fdbpl.stages.caches import open_role

EXACT = "float32"
PAYLOADS = (EXACT, "float16", "int8", "logits", "top5", "top1")
METHODS = ("kdpl", "fdbpl")

# What a region of real models takes: ViT-H/14's width, and the classes learned from.
WIDTH, CLASSES = 1024, (24, 100, 500, 1000)
REAL = (EXACT, "float16", "int8", "logits", "top16")


@dataclass
class Loss:
    """What a payload takes on disk, and what it loses of the teacher's logits.

    Attributes:
        regions: how many were measured.
        stored: bytes of all columns of their shards.
        largest: error of any logit.
        total: sum of all logits' errors.
        logits: how many there are.
        kl: sum of the regions' KL, nats.
    """

    regions: int = 0
    stored: int = 0
    largest: float = 0.0
    total: float = 0.0
    logits: int = 0
    kl: float = 0.0

    def add(self, cache: Cache, found: np.ndarray, exact: np.ndarray) -> None:
        table = cache.manifest.tables["train"]
        error = np.abs(found - exact)
        log_p, log_q = log_softmax(exact), log_softmax(found)
        self.regions += table.rows
        self.stored += sum(shard.bytes for shard in table.shards)
        self.largest = max(self.largest, float(error.max()))
        self.total += float(error.sum())
        self.logits += error.size
        self.kl += float((np.exp(log_p) * (log_p - log_q)).sum())


def logits_of(cache: Cache, plan: Plan) -> np.ndarray:
    """Return the teacher's logits (R, C) over the learned classes, in float64."""
    scale = cache.manifest.identity.model["logit_scale"]
    vectors = cache.class_vectors()[list(plan.base)].astype(np.float64)
    return scale * cache.features("train").astype(np.float64) @ vectors.T


def losses(settings: Sequence[Setting], datasets: Sequence[str], root: Path) -> dict[str, Loss]:
    """Compare each payload's teacher caches with the exact ones."""
    found = {payload_of(setting): Loss() for setting in settings}
    exact: dict[str, np.ndarray] = {}
    for setting in settings:  # the first is exact
        for dataset in datasets:
            plan = Plan.load(inputs_workspace(setting.params, root).plan(dataset))
            cache = open_teacher(setting.params, plan, root)
            logits = logits_of(cache, plan)
            exact.setdefault(dataset, logits)
            found[payload_of(setting)].add(cache, logits, exact[dataset])
    return found


def open_teacher(params: Params, plan: Plan, root: Path) -> Cache:
    return open_role("teacher", params, plan, inputs_workspace(params, root))


def accuracies(
    settings: Sequence[Setting], datasets: Sequence[str], root: Path
) -> dict[tuple[str, str], Row]:
    """Return the row of each payload and method that can learn from it."""
    rows = {}
    for method in METHODS:
        able = [s for s in settings if method == "kdpl" or not is_of_classes(payload_of(s))]
        with progress(f"{method}: {len(able)} payloads on {len(datasets)} datasets") as report:
            trials, _ = run_trials(able, datasets, [method], root, report)
        for row in summarise(able, datasets, [method], trials):
            rows[row.params.cache.payload, method] = row
    return rows


def payload_of(setting: Setting) -> str:
    return setting.params.cache.payload


def measured(lost: Mapping[str, Loss], rows: Mapping[tuple[str, str], Row]) -> str:
    lines: list[tuple[str, ...]] = [
        ("payload", "bytes a region", "largest error", "mean error", "mean KL",
         *(head for m in METHODS for head in (f"H, {TITLES[m]}", f"to {EXACT}"))),
    ]  # fmt: skip
    for name, loss in lost.items():
        errors = (loss.largest, loss.total / loss.logits, loss.kl / loss.regions)
        cells = [f"{value:.1e}" if value else "0" for value in errors]
        for method in METHODS:
            row = rows.get((name, method))
            cells += ["needs features", ""] if row is None else [
                f"{row.average('h'):.2f}", spell_gap(row.difference)
            ]  # fmt: skip
        lines.append((name, f"{loss.stored / loss.regions:,.0f}", *cells))
    return markdown(lines)


def sizes() -> str:
    """Return a region's bytes before compression for a large teacher and several class lists."""
    lines: list[tuple[str, ...]] = [("payload", *(f"{count:,} classes" for count in CLASSES))]
    for name in REAL:
        lists = (
            ClassList(tuple(map(str, range(n))), "{}", tuple(range(n)), "own", 1.0) for n in CLASSES
        )
        cells = (f"{make_payload(name, classes).row_bytes(WIDTH):,}" for classes in lists)
        lines.append((name, *cells))
    return markdown(lines)


def page(
    datasets: Sequence[str],
    seeds: Sequence[int],
    teacher: Identity,
    lost: Mapping[str, Loss],
    rows: Mapping[tuple[str, str], Row],
) -> str:
    """Return docs/payloads.md."""
    about = (Path(__file__).parent / "payloads.md").read_text(encoding="utf-8").rstrip()
    of_what = (
        f"Datasets {', '.join(datasets)}, {next(iter(lost.values())).regions:,} regions; seeds "
        f"{', '.join(map(str, seeds))}; teacher {teacher.encoder['architecture']}, logits at its "
        f"scale of {teacher.model['logit_scale']:.2f}. Bytes are of whole shards: payload, key, "
        "image, crop, box and flip."
    )
    parts = [
        about,
        "## Measured",
        of_what,
        measured(lost, rows),
        "## A large teacher",
        f"Bytes of a region's payload before compression, for features of {WIDTH:,} numbers as "
        "ViT-H/14 has them, counted from the format.",
        sizes(),
        f"On {', '.join(machine())}.",
    ]
    return "\n\n".join(parts) + "\n"


def _words(_context: click.Context, _option: click.Parameter, given: str | None) -> list[str]:
    return [] if given is None else given.split(",")


@click.command()
@click.option("--datasets", callback=_words, help="By commas; by default the development ones.")
@click.option("--payloads", callback=_words, default=",".join(PAYLOADS), show_default=True)
@click.option(
    "--params", "source", type=click.Path(path_type=Path), default=DEFAULT_PATH, show_default=True
)
@click.option("--root", type=click.Path(path_type=Path), default=Path("runs/payloads"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/payloads.md"))
def main(datasets: list[str], payloads: list[str], source: Path, root: Path, out: Path) -> None:
    """Measure every payload and write the page."""
    params = read_params(source)
    datasets = datasets or [name for name in params.development if name in params.datasets]
    cache = params.cache.model_copy(update={"payload": EXACT})
    exact = params.model_copy(update={"seeds": list(SEEDS), "cache": cache})
    factor = Factor("cache.payload", tuple(name for name in payloads if name != EXACT))
    settings = settings_of(exact, [factor], cross=False)
    rows = accuracies(settings, datasets, root)
    lost = losses(settings, datasets, root)
    plan = Plan.load(inputs_workspace(exact, root).plan(datasets[0]))
    teacher = open_teacher(exact, plan, root).manifest.identity
    write_whole(out, page(datasets, SEEDS, teacher, lost, rows).encode())
    click.echo(f"{measured(lost, rows)}\n\nWritten: {out}")


if __name__ == "__main__":
    main()
