"""Caches and stores in words, for people at a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fdbpl.cache.cache import Cache, open_cache
from fdbpl.cache.manifest import Identity
from fdbpl.cache.upkeep import Sweep, cache_urls
from fdbpl.system.errors import UserError

WIDEST = 100  # letters of a value that there is room for


def listing(url: str | Path) -> list[str]:
    """Return a table of the caches at and below `url`, one a line, then the unreadable ones.

    Raises UserError when there is none.
    """
    rows, faults = [], []
    for one in cache_urls(url):
        try:
            manifest = open_cache(one).manifest
        except UserError as error:
            faults.append(str(error))
            continue
        identity, tables = manifest.identity, manifest.tables
        rows.append(
            {
                "dataset": identity.dataset,
                "kind": identity.kind,
                "regions": f"{tables['train'].rows:,}",
                "tests": f"{tables['test'].rows:,}",
                "bytes": f"{manifest.size:,}",
                "payload": str(identity.payload.get("name")),
                "model": _model(identity),
                "where": one,
            }
        )
    if not rows and not faults:
        raise UserError(
            f"{url}: no cache here or below; wanted a folder or URL that holds some, such as caches"
        )
    return _aligned(rows) + faults


def description(cache: Cache) -> list[str]:
    """Return what a cache's manifest says, one value a line."""
    manifest = cache.manifest
    fields = dict(_flat(manifest.identity.model_dump(mode="json")))
    width = max(map(len, fields))
    rows = []
    for name, table in manifest.tables.items():
        columns = (
            f"{column} {entry.dtype}{list(entry.shape) if entry.shape else ''}"
            for column, entry in table.columns.items()
        )
        rows.append(
            {
                "table": name,
                "rows": f"{table.rows:,}",
                "bytes": f"{table.size:,}",
                "per row": f"{table.size / max(table.rows, 1):,.1f}",
                "shards": f"{len(table.shards):,}",
                "columns": ", ".join(columns),
            }
        )
    return [
        f"{cache.url}: format {manifest.format}, written by {manifest.tool}",
        f"digest  {manifest.digest}",
        "",
        *(f"{name.ljust(width)}  {_short(value)}" for name, value in fields.items()),
        "",
        *_aligned(rows),
    ]


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


def _model(identity: Identity) -> str:
    if not identity.model:
        return "none"
    return f"{identity.encoder.get('architecture')} ({identity.model.get('source')})"


def _aligned(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the lines of a table, heads first, numbers to the right; none for no rows."""
    columns = []
    for head in rows[0] if rows else ():
        cells = [head, *(row[head] for row in rows)]
        width = max(map(len, cells))
        are_numbers = all(cell.replace(",", "").isdigit() for cell in cells[1:])
        columns.append([cell.rjust(width) if are_numbers else cell.ljust(width) for cell in cells])
    return ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
