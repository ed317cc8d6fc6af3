"""The part of a page that a command writes, between its own two marks."""

from pathlib import Path

from fdbpl.system.files import write_whole


def replace_block(path: Path, name: str, text: str) -> None:
    """Put `text` between the marks `<!-- name:begin -->` and `<!-- name:end -->` of a page."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    write_whole(path, f"{before}{begin}{text}{end}{after}".encode())
