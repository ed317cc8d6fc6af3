"""How often a 95 % interval holds the truth: python -m bench.coverage [--draws N] [--seed N]

Simulates two methods on a few datasets, whose true averages are known, and counts how often each
kind of interval holds the true difference. Writes bench/coverage.md, which
`python -m studies.results --add "Coverage=bench/coverage.md"` puts on the page.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from bench import finding
from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.statistics import COVERAGE, Interval, linearised_h, t_interval
from fdbpl.system.files import write_whole
from fdbpl.system.machine import commit

DATASETS, SEEDS = (4, 5, 6, 11), 3
LEVEL, SPREAD = (65.0, 72.0), 15.0
"""Of the weaker method: mean accuracy on base and new classes, and its deviation over datasets."""

GAIN, GAIN_SPREAD, NOISE = (5.0, 1.0), (5.0, 3.0), 2.0
"""Of the better one: mean gain, its deviation over datasets, and that of a seed of either."""

SHAPES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.exponential(size=shape) - 1,
}
"""Gains of datasets, before scaling: mean 0, deviation 1."""

Floats = NDArray[np.float64]


def draw(rng: np.random.Generator, datasets: int, shape: str) -> Floats:
    """Return accuracies (2 methods, 2 halves, datasets, seeds)."""
    level = np.array(LEVEL)[:, None] + SPREAD * rng.normal(size=(2, datasets))
    gain = SHAPES[shape](rng, (2, datasets)) * np.array(GAIN_SPREAD)[:, None]
    better = level + np.array(GAIN)[:, None] + gain
    noise = NOISE * rng.normal(size=(2, 2, datasets, SEEDS))
    return np.stack([level, better])[..., None] + noise


def bootstrap(rng: np.random.Generator, table: Floats, resamples: int) -> Interval:
    """Return what stood here before: percentiles of means, datasets and then seeds drawn anew."""
    count, seeds = table.shape
    datasets = rng.integers(count, size=(resamples, count, 1))
    within = rng.integers(seeds, size=(resamples, count, seeds))
    tail = (100 - COVERAGE) / 2
    low, high = np.percentile(table[datasets, within].mean(axis=(1, 2)), [tail, 100 - tail])
    return Interval(float(table.mean()), float(low), float(high), count)


def coverage(datasets: int, shape: str, draws: int, resamples: int, seed: int) -> dict[str, float]:
    """Return how often each kind of interval held the truth, in per cent."""
    rng = np.random.default_rng(seed)
    better = np.add(LEVEL, GAIN)
    truth = {"base": GAIN[0], "h": harmonic_mean(*better) - harmonic_mean(*LEVEL)}
    held = {"t": 0, "delta": 0, "bootstrap": 0}
    for _ in range(draws):
        runs = draw(rng, datasets, shape)
        means = runs.mean(axis=3)
        found = {
            "t": (t_interval(means[1, 0] - means[0, 0]), truth["base"]),
            "delta": (t_interval(linearised_h(*means[1]) - linearised_h(*means[0])), truth["h"]),
            "bootstrap": (bootstrap(rng, runs[1, 0] - runs[0, 0], resamples), truth["base"]),
        }
        for kind, (interval, true) in found.items():
            held[kind] += interval.low <= true <= interval.high
    return {kind: 100 * count / draws for kind, count in held.items()}


@click.command()
@click.option("--draws", default=10_000, show_default=True)
@click.option("--resamples", default=1_000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench/coverage.md"))
def main(draws: int, resamples: int, seed: int, out: Path) -> None:
    """Simulate, and write the table."""
    rows = [
        {"gains": shape, "datasets": str(datasets)}
        | {
            kind: f"{share:.1f}"
            for kind, share in coverage(datasets, shape, draws, resamples, seed).items()
        }
        for shape in SHAPES
        for datasets in DATASETS
    ]
    heads = {"gains": "gains", "datasets": "datasets", "t": "t, mean difference",
             "delta": "t, H of averages", "bootstrap": "bootstrap, mean difference"}  # fmt: skip
    text = (
        f"How often an interval of nominally {COVERAGE} % holds the true difference, per cent of "
        f"{draws:,} simulated comparisons with {SEEDS} seeds. A dataset's accuracy on base and new "
        f"classes is normal about {LEVEL[0]:g} and {LEVEL[1]:g} (deviation {SPREAD:g}); the second "
        f"method gains {GAIN[0]:g} and {GAIN[1]:g} (deviations {GAIN_SPREAD[0]:g} and "
        f"{GAIN_SPREAD[1]:g}, normal or, skewed, exponential); a seed adds normal noise (deviation "
        f"{NOISE:g}). The percentile bootstrap over datasets and seeds is what these pages had "
        f"before.\n\n{finding.rows(heads, rows)}\n\n`python -m bench.coverage --draws {draws} "
        f"--resamples {resamples} --seed {seed}`, commit {commit('fdbpl', 'bench') or 'unknown'}.\n"
    )
    write_whole(out, text.encode())
    click.echo(f"{text}\nWritten: {out}")


if __name__ == "__main__":
    main()
