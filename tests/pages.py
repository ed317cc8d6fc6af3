"""What a page of HTML holds, read as a browser reads it: its text, and what it would fetch."""

import re
from html.parser import HTMLParser

from fdbpl.html.element import VOID


class Page(HTMLParser):
    """Reads a page; `left` are its open elements, `links` what it points to, `text` its words."""

    def __init__(self, data: bytes | str) -> None:
        super().__init__(convert_charrefs=True)
        self.left: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.feed(data.decode() if isinstance(data, bytes) else data)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.left.append(tag)
        for name, value in attrs:
            if name.split(":")[-1] in ("src", "href", "srcset", "data", "action", "poster"):
                self.links.append(value or "")
            assert not name.startswith("on"), f"a script in {name}"
            self.links += re.findall(r"url\(([^)]*)\)", value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.left.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.left.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.styles if self.left[-1:] == ["style"] else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def sound(data: bytes | str) -> Page:
    """Read a page, sure that it is closed and needs nothing but itself."""
    page = Page(data)
    assert page.left == []
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    for link in page.links:
        assert link.startswith(("#", "data:image/jpeg;base64,")), link
    assert not any("url(" in style or "@import" in style for style in page.styles)
    return page
