"""What a benchmark found, as JSON that says how and where; and its place in the documentation."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.machine import commit, machine

PAGE = Path("docs/performance.md")


def save(path: Path, bench: str, options: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    """Write what a benchmark found, and return it."""
    words = " ".join(
        f"--{key.replace('_', '-')} {value}" for key, value in options.items() if value is not None
    )
    whole = {
        "bench": bench,
        "command": f"python -m bench.{bench} {words}".strip(),
        "options": dict(options),
        "machine": list(machine()),
        "commit": commit("fdbpl", "bench", "flows"),
        **found,
    }
    write_whole(path, readable_json(whole))
    return whole


def source(found: Mapping[str, Any]) -> str:
    """Return the line that says by which command, at which commit and where it was measured."""
    return (
        f"`{found['command']}`, commit {found['commit'] or 'unknown'}, on "
        f"{', '.join(found['machine'])}."
    )


def rows(heads: Mapping[str, str], lines: list[Mapping[str, Any]]) -> str:
    """Return a markdown table: `heads` are keys of the lines and the titles of their columns.

    Numbers stand to the right, with as many digits as tell something.
    """
    numbers = {key for key in heads if all(not isinstance(one[key], str) for one in lines)}
    top = "| " + " | ".join(heads.values()) + " |"
    rule = "| " + " | ".join("---:" if key in numbers else "---" for key in heads) + " |"
    body = ["| " + " | ".join(number(one[key]) for key in heads) + " |" for one in lines]
    return "\n".join([top, rule, *body])


def number(value: Any) -> str:
    """Return a value as a reader wants it: three digits that count, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, int | str):
        return f"{value:,}" if isinstance(value, int) else value
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def put(name: str, text: str, page: Path = PAGE) -> None:
    """Put `text` between the marks `<!-- name:begin -->` and `<!-- name:end -->` of a page."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    write_whole(page, f"{before}{begin}{text}{end}{after}".encode())


def in_process(work: Callable[..., dict[str, Any]], *given: Any, threads: int) -> dict[str, Any]:
    """Return what `work` returns in a fresh process, whose peak of memory is its own."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()
