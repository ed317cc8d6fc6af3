"""What was measured of a model on held-out pictures: plain values, and the lines that say them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fdbpl.evaluation.calibration import KEPT, Calibration
from fdbpl.learning.learn import Outcome
from fdbpl.methods.registry import title_of
from fdbpl.serving.figures import figures_of, weakest
from fdbpl.serving.make import Made, predictor_of_made
from fdbpl.serving.pictures import pictures as pictures_of
from fdbpl.serving.stream import answers
from fdbpl.system.errors import UserError


def figures(outcome: Outcome, calibration: Calibration) -> dict[str, Any]:
    """Return what was measured, as a model keeps it: what `figures_of` does, and more.

    `labels` is "told" where people told the classes, else "teacher"; `own_test`, whether the
    pictures are test pictures of the user's own; `chosen_by_test`, whether the method was chosen
    and the model calibrated by these; `tried`, the accuracy in per cent of every method among which
    one was chosen.
    """
    tested = outcome.own_test or outcome.held_out
    return {
        **figures_of(tested.logits, tested.labels, outcome.plan.class_names, calibration),
        "labels": "told" if tested.told else "teacher",
        "own_test": outcome.own_test is not None,
        "chosen_by_test": outcome.chosen_by_test,
        "tried": dict(outcome.tried),
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


def lines_of(
    measured: Mapping[str, Any], method: str, thresholds: Mapping[int, float]
) -> list[str]:
    """Say what was measured."""
    tried = sorted(measured["tried"].items(), key=lambda pair: -pair[1])
    wide = max(len(title_of(name)) for name, _ in tried)
    told = measured["labels"] == "told"
    what = "accuracy" if told else "agreement with the teacher"
    judged = "your test" if measured["chosen_by_test"] else "held-out"
    lines = [f"{what} on {judged} pictures, all {len(measured['classes'])} classes competing:"]
    lines += [
        f"  {title_of(name):<{wide}}  {value:5.1f} %{'  taken' if name == method else ''}"
        for name, value in tried
    ]
    if measured["own_test"] and not measured["chosen_by_test"]:
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
