"""The page: one HTML file that needs nothing else, light or dark, on wide and narrow screens."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from fdbpl.html.element import Html, element, joined

STYLE = Path(__file__).with_name("style.css")


def page(title: str, lines: Sequence[str], sections: Sequence[tuple[str, Html]]) -> bytes:
    """Return the whole file.

    Args:
        title: of the page.
        lines: below it: what it is of.
        sections: by their titles, which the page lists first where there are several.
    """
    names = [f"section-{number}" for number in range(1, len(sections) + 1)]
    links = [
        element("a", name, href=f"#{place}")
        for place, (name, _) in zip(names, sections, strict=True)
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", _style()),
    )
    body = element(
        "body",
        element("h1", title),
        *(element("p", line) for line in lines),
        element("nav", *links) if len(links) > 1 else "",
        *(
            element("section", element("h2", name), content, id=place)
            for place, (name, content) in zip(names, sections, strict=True)
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode()


def part(title: str, *contents: str) -> Html:
    """Return a part of a section; text among its contents is a paragraph."""
    told = (one if isinstance(one, Html) else element("p", one) for one in contents if one)
    return joined(element("h3", title), *told)


@cache
def _style() -> Html:
    return Html(STYLE.read_text(encoding="utf-8"))
