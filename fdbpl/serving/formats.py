"""Answers as lines: a table for people, CSV for spreadsheets, JSON for programs."""

import csv
import io
import json
from typing import Any

from fdbpl.serving.stream import Answer

NONE = "none of these"
"""What a picture is called that shows none of the classes."""

MAYBE = "perhaps none of these"


def as_object(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON has it: `path`, `top`, `score`, `known`; or `path`, `error`."""
    if answer.prediction is None:
        return {"path": answer.path, "error": answer.error}
    found = answer.prediction
    return {
        "path": answer.path,
        "top": [[name, round(probability, 6)] for name, probability in found.top],
        "score": round(found.score, 6),
        "known": found.known,
    }


def json_line(answer: Answer) -> str:
    """Return an answer as a JSON object."""
    return json.dumps(as_object(answer), ensure_ascii=False)


def table_line(answer: Answer, *, say_none: bool) -> str:
    """Return an answer as people read it: the picture, then the classes with their probabilities.

    With `say_none` a picture that is not known is called so in place of its likeliest class.
    """
    if answer.prediction is None:
        return f"{answer.path}: error: {answer.error}"
    found = answer.prediction
    classes = ", ".join(f"{name} {probability:.0%}" for name, probability in found.top)
    if say_none and found.known is False:
        return f"{answer.path}: {NONE} ({classes})"
    return f"{answer.path}: {classes}" + ("" if found.known is not False else f" ({MAYBE})")


def csv_header(top: int) -> str:
    """Return the names of the columns of `csv_line`."""
    classes = [f"{what}_{rank}" for rank in range(1, top + 1) for what in ("class", "probability")]
    return _csv(["path", *classes, "score", "known", "error"])


def csv_line(answer: Answer, *, top: int, say_none: bool) -> str:
    """Return an answer as a row of CSV: `top` classes with probabilities, score, known, error."""
    if answer.prediction is None:
        return _csv([answer.path, *[""] * (2 * top + 2), answer.error])
    found = answer.prediction
    cells: list[object] = [answer.path]
    for name, probability in found.top:
        cells += [name, f"{probability:.6f}"]
    if say_none and found.known is False:
        cells[1] = NONE
    cells += [""] * (2 * (top - len(found.top)))
    known = "" if found.known is None else str(found.known).lower()
    return _csv([*cells, f"{found.score:.6f}", known, ""])


def _csv(cells: list[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()
