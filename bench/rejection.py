"""Find the weights of the combined rejection score on development datasets, and print them.

    python -m bench.rejection --params FILE [--run NAME] [--method fdbpl]

FILE lists the development datasets and seeds, which must be trained already. All weights in tenths
that add up to one are tried; the best has the highest AUROC, averaged over seeds, then datasets,
then kinds of outsiders. fdbpl/evaluation/rejection.py keeps what this finds for `fdbpl`.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.evaluation.rejection import auroc
from fdbpl.settings.params import read_params
from fdbpl.stages.rejection import Sample, sample
from fdbpl.system.workspace import Workspace

PARTS = (
    "max_softmax",
    "max_logit",
    "energy",
    "difference",
    "negative_entropy",
    "written_energy",
)
STEPS = 10

Parts = NDArray[np.float64]
Cells = dict[str, list[tuple[Parts, Parts]]]


def main() -> None:
    options = _options()
    params = read_params(options.params)
    cells: Cells = {}
    for one in sample(params, Workspace(Path("runs") / options.run)):
        for seed in params.seeds:
            for kind, pair in standardised(one, options.method, seed).items():
                cells.setdefault(kind, []).append(pair)
    found = sorted(
        ((list(averages(cells, weights).values()), weights) for weights in simplex()),
        key=lambda entry: (-np.mean(entry[0]).round(6), entry[1]),
    )
    print(f"{options.method} on {', '.join(params.datasets)}; seeds {params.seeds}; AUROC in %:")
    print(f"{'mean':>6}  " + "  ".join(f"{kind:>13}" for kind in cells) + "  weights")
    alone = [entry for entry in found if max(entry[1]) == 1]
    for values, weights in [*found[:5], *alone]:
        told = {part: weight for part, weight in zip(PARTS, weights, strict=True) if weight}
        print(f"{np.mean(values):6.2f}  " + "  ".join(f"{v:13.2f}" for v in values) + f"  {told}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--run", default="dev")
    parser.add_argument("--method", default="fdbpl")
    return parser.parse_args()


def simplex() -> Iterator[tuple[float, ...]]:
    """Yield all weights of the parts in tenths that add up to one."""
    for counts in product(range(STEPS + 1), repeat=len(PARTS)):
        if sum(counts) == STEPS:
            yield tuple(count / STEPS for count in counts)


def standardised(one: Sample, method: str, seed: int) -> dict[str, tuple[Parts, Parts]]:
    """Return insiders' and outsiders' parts (n, P) by kind, in deviations."""
    role, scorer = one.scorer(method, seed)
    reference = _stacked(scorer.reference)
    mean, spread = reference.mean(axis=0), reference.std(axis=0)
    found = {}
    for kind, pair in one.pairs.items():
        scores = [(_stacked(scorer.simple(side)) - mean) / spread for side in pair[role]]
        found[kind] = (scores[0], scores[1])
    return found


def _stacked(scores: Any) -> Parts:
    return np.stack([scores[part] for part in PARTS], axis=1)


def averages(cells: Cells, weights: tuple[float, ...]) -> dict[str, float]:
    """Return the average AUROC of each kind; all datasets have the same seeds."""
    w = np.array(weights)
    return {
        kind: float(np.mean([auroc(inside @ w, outside @ w) for inside, outside in pairs]))
        for kind, pairs in cells.items()
    }


if __name__ == "__main__":
    main()
