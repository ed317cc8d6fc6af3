"""Tables: of rows, and of the Markdown that `fdbpl.reporting.tables.markdown` writes."""

from collections.abc import Sequence
from itertools import groupby

from fdbpl.html.element import Html, element, joined


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str | None = None) -> Html:
    """Return a table that scrolls by itself where it is wider than the page.

    Args:
        head: titles of the columns.
        rows: cells, text or `Html`; the first of each is what the row is about.
        kind: its class in the style sheet; by default cells are numbers.
    """
    titles = element("tr", *(element("th", title, scope="col") for title in head))
    lines = (
        element(
            "tr",
            element("th", first, scope="row"),
            *(element("td", cell) for cell in rest),
        )
        for first, *rest in rows
    )
    found = element("table", element("thead", titles), element("tbody", *lines), class_=kind)
    return element("div", found, class_="scroll")


def of_markdown(text: str) -> Html:
    """Return lines and Markdown tables, such as a section of the comparison has, as HTML."""
    parts = []
    for is_table, lines in groupby(text.splitlines(), key=lambda line: line.startswith("| ")):
        if is_table:
            head, _rule, *rows = (_cells(line) for line in lines)
            parts.append(table(head, rows))
        else:
            parts += [element("p", line) for line in lines if line]
    return joined(*parts)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.removeprefix("| ").removesuffix(" |").split(" | ")]
