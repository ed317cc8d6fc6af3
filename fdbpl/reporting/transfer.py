"""The tables of a transfer: what prompts learned on one dataset are worth on the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import markdown, with_deviation

KINDS = ("cross-dataset", "shifted")


def transfer_tables(record: Mapping[str, Any], methods: Sequence[str]) -> str:
    """Return a transfer's averages, then every target of each kind, as Markdown tables."""
    shown = {name: record["methods"][name] for name in methods if name in record["methods"]}
    kinds = {target: about["kind"] for target, about in record["targets"].items()}
    present = [kind for kind in KINDS if kind in kinds.values()]
    parts = [
        f"Learned on all classes of {record['source']}, accuracy over all classes in per cent:",
        _averages(shown, record["source"], list(kinds.values()), present),
        *(_targets(shown, [t for t in kinds if kinds[t] == kind], kind) for kind in present),
    ]
    return "\n\n".join(parts)


def _averages(
    methods: Mapping[str, Any], source: str, kinds: Sequence[str], present: Sequence[str]
) -> str:
    rows: list[tuple[str, ...]] = [
        ("method", source, *(f"{kind}, average of {kinds.count(kind)}" for kind in present))
    ]
    for method, result in methods.items():
        cells = (f"{result['avg'][column]:.2f}" for column in ("source", *present))
        rows.append((title_of(method), *cells))
    return markdown(rows)


def _targets(methods: Mapping[str, Any], targets: Sequence[str], kind: str) -> str:
    rows = [(kind, *targets)]
    for method, result in methods.items():
        cells = (result["targets"][target] for target in targets)
        spelled = (with_deviation(cell["mean"], cell["std"]) for cell in cells)
        rows.append((title_of(method), *spelled))
    return markdown(rows)
