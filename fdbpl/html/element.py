"""Markup in which nothing can be mistaken for markup: every text is escaped as it is put in."""

from html import escape

VOID = frozenset({"img", "meta", "br"})


class Html(str):
    """Text that is markup already; any other text is escaped where it is put into an element."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float | None) -> Html:
    """Return an element of HTML or SVG.

    Args:
        tag: its name.
        children: `Html` as it is; other text, escaped.
        attributes: None to leave one out; a last `_` is dropped and others are hyphens, as in
            `class_` and `stroke_width`.
    """
    written = "".join(
        f' {name.removesuffix("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{joined(*children)}</{tag}>")


def joined(*children: str) -> Html:
    """Return markup and texts one after the other."""
    return Html("".join(one if isinstance(one, Html) else escape(one) for one in children))


def coordinate(value: float) -> str:
    """Return a length in SVG: two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
