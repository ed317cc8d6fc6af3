"""Caches and stores in words, for people at a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fdbpl.cache.cache import Cache
from fdbpl.system.errors import UserError
from fdbpl.upkeep.survey import summaries
from fdbpl.upkeep.sweep import Sweep

WIDEST = 100  # letters of a value that there is room for


def listing(url: str | Path) -> list[str]:
    """Return a table of the caches at and below `url`, one a line, then the unreadable ones.

    Raises UserError when there is none.
    """
    found = list(summaries(url))
    rows = [row for row in found if "fault" not in row]
    faults = [row["fault"] for row in found if "fault" in row]
    if not found:
        raise UserError(
            f"{url}: no cache here or below; wanted a folder or URL that holds some, such as caches"
        )
    return [*(_table(rows) if rows else []), *faults]


def _table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    heads = list(rows[0])
    lines = [dict(zip(heads, heads, strict=True)), *rows]
    widths = {head: max(len(line[head]) for line in lines) for head in heads}
    numbers = [head for head in heads if all(r[head].replace(",", "").isdigit() for r in rows)]

    def cell(line: Mapping[str, str], head: str) -> str:
        width = widths[head]
        return line[head].rjust(width) if head in numbers else line[head].ljust(width)

    return ["  ".join(cell(line, head) for head in heads).rstrip() for line in lines]


def description(cache: Cache) -> list[str]:
    """Return what a cache's manifest says, one value a line."""
    manifest = cache.manifest
    lines = [
        f"{cache.url}: format {manifest.format}, written by {manifest.tool}",
        f"digest  {manifest.digest}",
        "",
    ]
    pairs = list(_flat(manifest.identity.model_dump(mode="json")))
    width = max(len(key) for key, _ in pairs)
    lines += [f"{key.ljust(width)}  {_short(value)}" for key, value in pairs]
    rows = []
    for name, table in manifest.tables.items():
        size = sum(shard.bytes for shard in table.shards)
        columns = (
            f"{column} {entry.dtype}{list(entry.shape) if entry.shape else ''}"
            for column, entry in table.columns.items()
        )
        rows.append(
            {
                "table": name,
                "rows": f"{table.rows:,}",
                "bytes": f"{size:,}",
                "per row": f"{size / max(table.rows, 1):,.1f}",
                "shards": f"{len(table.shards):,}",
                "columns": ", ".join(columns),
            }
        )
    return [*lines, "", *_table(rows)]


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def sweep_lines(done: Sequence[Sweep], deleted: bool) -> list[str]:
    """Say what cleaning a region store did, or would do."""
    lines = [fault for one in done for fault in one.faults]
    for one in done:
        before, after = one.bytes
        verb = "removed" if deleted else "would remove"
        lines.append(
            f"{one.url}: {one.kept:,} regions kept, {verb} {one.dropped:,}; "
            f"{one.segments[0]:,} to {one.segments[1]:,} segments, "
            f"{before:,} to {'' if deleted else 'about '}{after:,} bytes"
        )
        if one.leftovers:
            lines.append(f"{one.url}: {verb} {one.leftovers:,} half-written files of killed builds")
    freed = sum(one.bytes[0] - one.bytes[1] for one in done)
    if deleted:
        return [*lines, f"freed {freed:,} bytes"]
    return [*lines, f"would free about {freed:,} bytes; nothing was changed: say --delete to do it"]
