"""OOD detection and calibration over all datasets, methods and seeds: JSON, tables, picture."""

from collections.abc import Collection, Iterator, Mapping
from statistics import mean
from typing import Any, BinaryIO

from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import markdown, number

EMPTY, NEAR, FAR = "empty", "near", "far"
KIND_TITLES = {EMPTY: "empty regions", NEAR: "near OOD", FAR: "far OOD"}
KINDS_EXPLAINED = (
    "Near OOD are images of new classes, far OOD images of other datasets, empty regions parts of "
    "base images that show no object."
)

SCORE_TITLES = {
    "energy": "energy",
    "energy_mahalanobis": "energy + Mahalanobis",
    "no_prompt": '"no" prompt',
}

CAPTION = "AUROC / FPR95 of OOD scores, and calibration error (ECE) on base test images, per cent:"

Record = Mapping[str, Any]
BySeed = Mapping[str, Mapping[int, Record]]
"""What was measured, by dataset and seed."""


def summarise(
    counts: Mapping[str, Mapping[str, Mapping[str, int]]], measured: Mapping[str, BySeed]
) -> dict[str, Any]:
    """Join what was measured to one record, in per cent.

    Args:
        counts: of ID and OOD samples, by dataset and kind.
        measured: by method, each {"ece": {"ece"}, "scores": {score: {kind: {"auroc", "fpr95"}}}}.

    Returns:
        {"counts", "methods": {method: {"ece", "scores": {score: {kind}}}}} with {"avg", "datasets"}
        at each leaf; a dataset has its mean over seeds and every seed.
    """
    return {"counts": counts, "methods": {name: _joined(one) for name, one in measured.items()}}


def _joined(datasets: BySeed) -> dict[str, Any]:
    """Turn dataset, seed, names, values into names, dataset, seed, values, with averages."""
    trees = [tree for seeds in datasets.values() for tree in seeds.values()]
    joined: dict[str, Any] = {}
    if isinstance(next(iter(trees[0].values())), Mapping):
        for key in dict.fromkeys(key for tree in trees for key in tree):
            parts = {
                dataset: {seed: tree[key] for seed, tree in seeds.items() if key in tree}
                for dataset, seeds in datasets.items()
            }
            joined[key] = _joined({dataset: part for dataset, part in parts.items() if part})
        return joined
    for dataset, seeds in datasets.items():
        every = {str(seed): values for seed, values in seeds.items()}
        joined[dataset] = {**_means(every.values()), "seeds": every}
    return {"avg": _means(joined.values()), "datasets": joined}


def _means(rows: Collection[Mapping[str, Any]]) -> dict[str, float]:
    keys = [key for key in next(iter(rows)) if key != "seeds"]
    return {key: mean(row[key] for row in rows) for key in keys}


def text(record: Record) -> str:
    """Return all tables, each after a line on what it shows."""
    by_dataset = (datasets_table(record, kind) for kind in _kinds(record))
    tables = [scores_table(record), "By dataset, AUROC and ECE:", *by_dataset]
    return "\n\n".join([KINDS_EXPLAINED, CAPTION, *tables, calibration_table(record)])


def scores_table(record: Record) -> str:
    """Return AUROC / FPR95 of every method and score, and each method's calibration error."""
    kinds = _kinds(record)
    rows = [("method", "score", *(KIND_TITLES[kind] for kind in kinds), "ECE")]
    for method, score, found in _rows(record):
        averages = (found[kind]["avg"] if kind in found else None for kind in kinds)
        cells = (f"{a['auroc']:.2f} / {a['fpr95']:.2f}" if a else "-" for a in averages)
        ece = number(record["methods"][method]["ece"]["avg"]["ece"])
        rows.append((title_of(method), SCORE_TITLES[score], *cells, ece))
    return markdown(rows)


def datasets_table(record: Record, kind: str) -> str:
    """Return AUROC of every score on every dataset that has OOD samples of a kind."""
    datasets = [name for name, found in record["counts"].items() if kind in found]
    rows = [(KIND_TITLES[kind], "score", *datasets)]
    for method, score, found in _rows(record):
        of_kind = found[kind]["datasets"] if kind in found else {}
        cells = (number(of_kind[name]["auroc"] if name in of_kind else None) for name in datasets)
        rows.append((title_of(method), SCORE_TITLES[score], *cells))
    return markdown(rows)


def calibration_table(record: Record) -> str:
    """Return the calibration error of every method on every dataset."""
    rows = [("ECE", *record["counts"])]
    for method, result in record["methods"].items():
        cells = (number(found["ece"]) for found in result["ece"]["datasets"].values())
        rows.append((title_of(method), *cells))
    return markdown(rows)


def _rows(record: Record) -> Iterator[tuple[str, str, Record]]:
    """Yield every method, each of its scores and what that found by kind."""
    for method, result in record["methods"].items():
        for score, found in result["scores"].items():
            yield method, score, found


def _kinds(record: Record) -> list[str]:
    """Return the kinds that any dataset has."""
    return [k for k in KIND_TITLES if any(k in found for found in record["counts"].values())]


def plot(record: Record, file: BinaryIO) -> None:
    """Draw the average AUROC of every method and score, one panel a kind of OOD."""
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    kinds, methods = _kinds(record), list(record["methods"])
    size = (3 + 3 * len(kinds), 1.6 + 0.36 * len(methods))
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    if not methods:  # the stage's outputs are there all the same, as DVC wants them
        figure.text(0.5, 0.5, "Nothing was measured: ood.md says why.", ha="center", va="center")
        figure.savefig(file, format="png", metadata={"Software": None})
        return
    panels = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for mark, score in zip("oD*", SCORE_TITLES, strict=True):
            points = {
                methods.index(method): found[kind]["avg"]["auroc"]
                for method, name, found in _rows(record)
                if name == score and kind in found
            }
            axes.plot(list(points.values()), list(points), mark, label=SCORE_TITLES[score])
        axes.axvline(50, color="0.6", linewidth=1)
        axes.set_title(KIND_TITLES[kind])
        axes.set_xlabel("AUROC, %")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(methods)), [title_of(method) for method in methods])
    panels[0].invert_yaxis()
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(file, format="png", metadata={"Software": None})
