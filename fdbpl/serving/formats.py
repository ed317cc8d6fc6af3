"""Answers as lines: a table for people, CSV for spreadsheets, JSON for programs."""

import csv
import io
import json
from typing import Any

from fdbpl.serving.stream import Answer

NONE = "none of these"
"""What a picture is called that shows none of the classes."""

MAYBE = "perhaps none of these"

_END = "\r\n"
"""Either of its characters in a cell has it quoted."""

_BYTES = frozenset(map(chr, range(0xDC80, 0xDD00)))
"""What stands in a path for a byte that is no UTF-8."""


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
    """Return an answer as a JSON object, of UTF-8 whatever bytes the path has.

    Those that are no UTF-8 are escaped: `os.fsencode` of what is read is the path again.
    """
    text = json.dumps(as_object(answer), ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()


def table_line(answer: Answer, *, say_none: bool) -> str:
    """Return an answer as people read it: the picture, then the classes with their probabilities.

    With `say_none` a picture that is not known is called so in place of its likeliest class. It is
    one line, whatever is in a path: what cannot be shown is written as Python writes it.
    """
    path = _shown(answer.path)
    if answer.prediction is None:
        return f"{path}: error: {_shown(str(answer.error))}"
    found = answer.prediction
    classes = ", ".join(f"{name} {probability:.0%}" for name, probability in found.top)
    if say_none and found.known is False:
        return f"{path}: {NONE} ({classes})"
    return f"{path}: {classes}" + ("" if found.known is not False else f" ({MAYBE})")


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


def _shown(text: str) -> str:
    return "".join(
        one if one.isprintable() or one in _BYTES else one.encode("unicode_escape").decode()
        for one in text
    )


def _csv(cells: list[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator=_END).writerow(cells)
    return out.getvalue().removesuffix(_END)
