"""The confusion matrix as SVG: a row for the class shown, a column for the class taken."""

import numpy as np

from fdbpl.evaluation.confusion import Confusion
from fdbpl.html.classes import MOST
from fdbpl.html.element import Html, coordinate, element, joined

CELL, LETTER, MARGIN = 20, 7, 8  # pixels: a cell, about one letter of a name, around names
LONGEST = 22  # letters of a name that there is room for
OTHERS = "all others"


def matrix(confusion: Confusion) -> Html:
    """Return the matrix; of many classes that of the weakest, and a column for all others.

    A cell is as dark as the share of its row's pictures that it holds, and says their number.
    """
    labels = sorted(confusion.weakest(MOST))
    names = [confusion.names[label] for label in labels]
    columns = [[int(one) for one in confusion.counts[labels, label]] for label in labels]
    heads = list(names)
    rest = confusion.pictures[labels] - confusion.counts[np.ix_(labels, labels)].sum(axis=1)
    if rest.any():
        columns.append([int(one) for one in rest])
        heads.append(OTHERS)
    left = top = MARGIN + LETTER * min(LONGEST, max(map(len, heads)))
    totals = [int(confusion.pictures[label]) for label in labels]
    cells = [
        _cell(
            left + CELL * column, top + CELL * row, count, totals[row], f"{name} taken for {head}"
        )
        for column, (head, counts) in enumerate(zip(heads, columns, strict=True))
        for row, (name, count) in enumerate(zip(names, counts, strict=True))
        if count
    ]
    width, height = left + CELL * len(heads) + MARGIN, top + CELL * len(names) + MARGIN
    drawn = element(
        "svg",
        *_lines(left, top, len(heads), len(names)),
        *cells,
        *(_row_name(left, top + CELL * row, name) for row, name in enumerate(names)),
        *(_column_name(left + CELL * column, top, head) for column, head in enumerate(heads)),
        width=coordinate(width),
        height=coordinate(height),
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="img",
        aria_label="What the pictures of each class were taken for",
        class_="matrix",
    )
    words = "Rows: the class that is shown. Columns: what its pictures were taken for."
    tested = int((confusion.pictures > 0).sum())
    if tested > len(names):
        words += f" Of {tested:,} classes the {len(names)} weakest."
    return joined(element("p", words), element("div", drawn, class_="scroll"))


def _cell(x: float, y: float, count: int, total: int, words: str) -> Html:
    share = count / total
    told = element("title", f"{words}: {count:,} of {total:,}")
    square = element(
        "rect",
        told,
        x=coordinate(x),
        y=coordinate(y),
        width=CELL,
        height=CELL,
        fill_opacity=f"{0.08 + 0.92 * share:.2f}",
    )
    number = element(
        "text",
        f"{count}" if count < 1000 else f"{round(count / 1000)}k",
        x=coordinate(x + CELL / 2),
        y=coordinate(y + CELL / 2),
        class_="dark" if share > 0.55 else "light",
    )
    return joined(square, number)


def _lines(left: float, top: float, columns: int, rows: int) -> list[Html]:
    """Return the grid: every fifth line, so that the eye finds rows and columns."""
    right, bottom = left + CELL * columns, top + CELL * rows
    down = [
        (left + CELL * n, top, left + CELL * n, bottom) for n in {*range(0, columns, 5), columns}
    ]
    across = [(left, top + CELL * n, right, top + CELL * n) for n in {*range(0, rows, 5), rows}]
    return [
        element("path", d=f"M{coordinate(a)} {coordinate(b)}L{coordinate(c)} {coordinate(d)}")
        for a, b, c, d in [*down, *across]
    ]


def _row_name(left: float, y: float, name: str) -> Html:
    at = {"x": coordinate(left - MARGIN / 2), "y": coordinate(y + CELL / 2)}
    return element("text", _short(name), element("title", name), class_="row", **at)


def _column_name(x: float, top: float, name: str) -> Html:
    x, y = x + CELL / 2, top - MARGIN / 2
    turned = f"translate({coordinate(x)} {coordinate(y)}) rotate(-90)"
    return element("text", _short(name), element("title", name), class_="column", transform=turned)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
