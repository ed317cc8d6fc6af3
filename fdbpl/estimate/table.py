"""An estimate as lines to read."""

from collections.abc import Iterator

from fdbpl.estimate.estimate import Encoding, Estimate


def lines_of(found: Estimate) -> Iterator[str]:
    """Yield the lines of a small table."""
    yield f"{'encode':<10} {'views':>11} {'stored':>11} {'ms a view':>10} {'time':>9} {'bytes':>9}"
    for role, one in found.encoding.items():
        stored = "unknown" if one.stored is None else f"{one.stored:,}"
        yield (
            f"{role:<10} {one.views:>11,} {stored:>11} {one.view_ms:>10.2f} "
            f"{duration(one.seconds):>9} {size(one.bytes):>9}"
        )
    yield ""
    yield f"{'train':<24} {'classes':>8} {'methods':>8} {'steps each':>11} {'time':>9}"
    for run in found.training:
        name = run.dataset if run.protocol == "base-to-new" else f"{run.dataset}, {run.protocol}"
        yield (
            f"{name:<24} {run.classes:>8,} {run.methods:>8} {run.steps:>11,} "
            f"{duration(run.seconds):>9}"
        )
    yield ""
    whole = found.encode_seconds + found.train_seconds
    yield (
        f"in all: {duration(whole)} ({duration(found.encode_seconds)} encoding, "
        f"{duration(found.train_seconds)} training) and {size(found.bytes)} of disk, on "
        f"{found.machine}"
    )
    yield f"memory: {found.peak_mb:,.0f} MiB, measured with a batch of each model and a step"
    yield from (f"note: {note}" for note in _notes(found))


def _notes(found: Estimate) -> Iterator[str]:
    missing = found.caches - found.planned
    if missing:
        yield (
            f"{missing} of {found.caches} caches have no plan yet: their images are taken for "
            "readable and their views for new"
        )
    for role, one in found.encoding.items():
        if not one.own_weights:
            yield (
                f"{role}: {one.model} is not on this machine; random weights of its shape were "
                "timed, and nothing was looked up in the store"
            )
        yield f"{role}, training regions by payload: {_payloads(one)}"
    if found.training:
        held = max(found.training, key=lambda run: run.features_mb)
        yield f"features held while training: at most {held.features_mb:,.1f} MiB, {held.dataset}"
    yield "evaluation, tables and the start of every stage are not counted: seconds a dataset"


def _payloads(one: Encoding) -> str:
    return "; ".join(f"{name} {size(count)}" for name, count in one.regions_only.items())


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """Return bytes in the unit that suits them."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} B"
