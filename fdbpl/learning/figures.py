"""What was measured of a model on held-out pictures: plain values, and the lines that say them."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from fdbpl.evaluation.calibration import KEPT, Calibration
from fdbpl.evaluation.logits import logsumexp
from fdbpl.learning.learn import Judged, Outcome
from fdbpl.methods.registry import title_of
from fdbpl.serving.make import Made, predictor_of_made
from fdbpl.serving.pictures import pictures as pictures_of
from fdbpl.serving.stream import answers
from fdbpl.system.errors import UserError

Z = 1.96
WEAKEST = 5


def figures(outcome: Outcome, calibration: Calibration) -> dict[str, Any]:
    """Return what was measured, as a model keeps it.

    `accuracy` in per cent, `low` and `high` of its 95 % interval (Wilson 1927); `tried` the same
    of every method by which one was chosen; `classes` for each class its pictures, and what they
    were taken for; `kept` and `refused`, by threshold, per cent of the pictures held out, and of
    them with their own class taken off the list, as pictures of an unknown class are.
    """
    tested = outcome.own_test or outcome.held_out
    low, high = wilson(tested.correct / 100, len(tested.labels))
    return {
        "pictures": len(tested.labels),
        "labels": "told" if tested.told else "teacher",
        "own_test": outcome.own_test is not None,
        "accuracy": tested.correct,
        "low": 100 * low,
        "high": 100 * high,
        "tried": dict(outcome.tried),
        "classes": _classes(tested, outcome.plan.class_names),
        "kept": _reaching(tested.logits, calibration),
        "refused": {
            kept: 100 - share
            for kept, share in _reaching(without_own_class(tested), calibration).items()
        },
    }


def with_unknown(made: Made, pictures: Path) -> Made:
    """Return a model whose figures say, too, how many pictures of none of its classes it refuses.

    Args:
        made: the model.
        pictures: a picture or a folder of them.

    Raises:
        UserError: none of them can be read.
    """
    paths = list(pictures_of([str(pictures)]))
    found = answers(predictor_of_made(made), paths, threads=os.cpu_count() or 1)
    scores = np.array([one.prediction.score for one in found if one.prediction])
    if not len(scores):
        raise UserError(f"{pictures}: no picture that can be read. Name a folder that holds some.")
    limits = made.calibration.thresholds
    refused = {str(kept): 100 * float(np.mean(scores < limits[kept])) for kept in KEPT}
    unknown = {"pictures": len(scores), "refused": refused}
    return replace(made, measured={**made.measured, "unknown": unknown})


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share seen in `count` cases (Wilson 1927)."""
    spread = Z * sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    middle, whole = share + Z**2 / (2 * count), 1 + Z**2 / count
    return (middle - spread) / whole, (middle + spread) / whole


def without_own_class(judged: Judged) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the logits (n, C) of pictures with -inf for the class that each one shows."""
    logits = np.array(judged.logits, np.float64)
    logits[np.arange(len(logits)), judged.labels] = -np.inf
    return logits


def _reaching(logits: Any, calibration: Calibration) -> dict[str, float]:
    """Return per cent by threshold; the keys are words, as JSON has them."""
    scores, limits = logsumexp(logits), calibration.thresholds
    return {str(kept): 100 * float(np.mean(scores >= limits[kept])) for kept in KEPT}


def _classes(judged: Judged, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return for each class what its pictures were taken for, most often first."""
    taken = judged.logits.argmax(axis=1)
    found = {}
    for label, name in enumerate(names):
        counts = Counter(taken[judged.labels == label].tolist())
        found[name] = {names[one]: count for one, count in counts.most_common()}
    return found


def lines_of(
    measured: Mapping[str, Any], method: str, thresholds: Mapping[int, float]
) -> list[str]:
    """Say what was measured."""
    tried = sorted(measured["tried"].items(), key=lambda pair: -pair[1])
    wide = max(len(title_of(name)) for name, _ in tried)
    told = measured["labels"] == "told"
    what = "accuracy" if told else "agreement with the teacher"
    lines = [f"{what} on held-out pictures, all {len(measured['classes'])} classes competing:"]
    lines += [
        f"  {title_of(name):<{wide}}  {value:5.1f} %{'  taken' if name == method else ''}"
        for name, value in tried
    ]
    if measured["own_test"]:
        lines.append("on your test pictures, which nothing was chosen by:")
    lines.append(
        f"  {title_of(method)}: {measured['accuracy']:.1f} % of {measured['pictures']:,} pictures "
        f"({measured['low']:.1f} to {measured['high']:.1f} %){_margin(tried, method)}"
    )
    weak = weakest(measured["classes"])
    if weak:
        lines += ["weakest classes:", *(f"  {line}" for line in weak)]
    kept, refused = measured["kept"]["95"], measured["refused"]["95"]
    lines.append(
        f'"none of these" below a score of {thresholds[95]:.2f}: keeps {kept:.0f} % of these '
        f"pictures, and refuses {refused:.0f} % of them once their own class is off the list"
    )
    if "unknown" in measured:
        unknown = measured["unknown"]
        lines.append(
            f"  and {unknown['refused']['95']:.0f} % of {unknown['pictures']:,} pictures of none "
            "of the classes"
        )
    return lines


def _margin(tried: Sequence[tuple[str, float]], method: str) -> str:
    """Say by how much the method taken is ahead of the next, and of zero-shot."""
    known = dict(tried)
    others = [(name, value) for name, value in tried if name != method]
    if not others:
        return ""
    next_best, value = others[0]
    ahead = [f"{known[method] - value:+.1f} points over {title_of(next_best)}"]
    if "zero_shot" in known and "zero_shot" not in (method, next_best):
        ahead.append(f"{known[method] - known['zero_shot']:+.1f} over zero-shot")
    return "; " + ", ".join(ahead)


def weakest(classes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Name the classes that are found least often, and what they are taken for."""
    shares = {
        name: taken.get(name, 0) / sum(taken.values()) for name, taken in classes.items() if taken
    }
    chosen = [name for name in sorted(shares, key=lambda one: shares[one]) if shares[name] < 1]
    return [
        f"{name} {shares[name]:.0%}{_taken_for(name, classes[name])}" for name in chosen[:WEAKEST]
    ]


def _taken_for(name: str, taken: Mapping[str, int]) -> str:
    total = sum(taken.values())
    others = [(other, count) for other, count in taken.items() if other != name][:2]
    said = ", ".join(f"{other} {count / total:.0%}" for other, count in others)
    return f", taken for {said}" if said else ""
