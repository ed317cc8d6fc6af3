"""The tables of a transfer: what prompts learned on one dataset are worth on the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from fdbpl.evaluation.accuracy import over_targets
from fdbpl.evaluation.record import Run
from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import markdown, with_deviation

KINDS = ("cross-dataset", "shifted")


def transfer_record(
    runs: Mapping[str, Run],
    plans: Mapping[str, str],
    source: str,
    methods: Sequence[str],
    seeds: list[int],
) -> dict[str, Any]:
    """Join the runs of the source and of every target to what compare.json says of a transfer.

    `targets` says of each its kind, plan and counts; `methods` has for each method the accuracies
    by seed and dataset, the targets' means and deviations, and the averages of each kind.

    Raises:
        KeyError: a run lacks one of the methods or seeds, or there is none of the source.
    """
    targets = {name: run for name, run in runs.items() if name != source}
    kinds = {name: run.kind for name, run in targets.items()}
    ordered = {source: runs[source], **targets}
    record: dict[str, Any] = {
        "source": source,
        "targets": {
            name: {
                "kind": run.kind,
                "classes": run.classes["all"],
                "test_images": run.test_images["all"],
                "plan": plans[name],
            }
            for name, run in targets.items()
        },
        "methods": {},
    }
    for method in methods:
        cells = {
            seed: {name: run.methods[method][seed] for name, run in ordered.items()}
            for seed in map(str, seeds)
        }
        accuracies: dict[str, Any] = {
            seed: {name: cell.measures["accuracy"] for name, cell in of.items()}
            for seed, of in cells.items()
        }
        digests = {seed: of[source].prompts for seed, of in cells.items() if of[source].prompts}
        record["methods"][method] = {
            "seeds": accuracies,
            **over_targets(accuracies, source, kinds),
            **({"prompts": digests} if digests else {}),
        }
    return record


def transfer_tables(record: Mapping[str, Any]) -> str:
    """Return a transfer's averages, then every target of each kind, as Markdown tables."""
    shown = record["methods"]
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
