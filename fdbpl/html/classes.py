"""How often each class is found: a table with bars, the weakest classes first."""

from collections.abc import Collection

from fdbpl.evaluation.confusion import Confusion
from fdbpl.html.element import Html, element, joined
from fdbpl.html.table import table

MOST = 40
"""Classes shown."""
TAKEN_FOR = 2
"""Other classes named beside each."""


def class_table(confusion: Confusion, new: Collection[int] = ()) -> Html:
    """Return a row a class: the share of its pictures that were found, and what others were taken.

    Args:
        confusion: of at least one picture.
        new: labels of classes that nothing was learned of, which are marked.
    """
    labels = confusion.weakest(MOST)
    head = ["class", "found", "pictures", "most often taken for"]
    rows = [_row(confusion, label, label in new) for label in labels]
    return joined(_cut(confusion, len(labels)), table(head, rows, "classes"))


def _row(confusion: Confusion, label: int, is_new: bool) -> list[str]:
    share, count = confusion.found(label), int(confusion.pictures[label])
    others = ", ".join(
        f"{confusion.names[other]} {100 * times / count:.0f}\N{NO-BREAK SPACE}%"
        for other, times in confusion.mistaken(label)[:TAKEN_FOR]
    )
    name = joined(confusion.names[label], element("small", " new") if is_new else "")
    bar = element("span", class_="bar", style=f"--share: {share:.1f}%")
    found = joined(bar, element("span", f"{share:.0f} %", class_="share"))
    return [name, found, f"{count:,}", others or "-"]


def _cut(confusion: Confusion, shown: int) -> Html:
    """Say what is left out, if anything is."""
    tested = int((confusion.pictures > 0).sum())
    without = len(confusion.names) - tested
    lines = []
    if tested > shown:
        lines.append(f"The {shown} weakest of {tested:,} classes.")
    if without:
        lines.append(f"No picture shows {without:,} of the {len(confusion.names):,} classes.")
    return element("p", " ".join(lines)) if lines else Html("")
