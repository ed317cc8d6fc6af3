"""The measures of rejection over all datasets, methods and seeds, as JSON, tables and picture."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import mean
from typing import Any, BinaryIO

from fdbpl.reporting.tables import TITLES, markdown

KINDS = ("empty", "new-class", "other-dataset")
"""Of outsiders: regions of base images without a thing, images of new classes, foreign images."""

SCORE_TITLES = {
    "max_softmax": "max softmax",
    "max_logit": "max logit",
    "energy": "energy",
    "difference": "difference",
    "negative_entropy": "entropy of p-",
    "written_energy": "energy, written prompt",
    "combined": "combined",
}

USUAL = ("max_softmax", "energy", "combined")
"""What the field takes, what serves CLIP better, and FDBPL's own where there are two contexts."""

KIND_TITLES = {
    "empty": "empty regions",
    "new-class": "new classes",
    "other-dataset": "other datasets",
}


Measured = Mapping[str, Mapping[int, Mapping[str, Any]]]
BySeed = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Values by dataset and seed."""


def summarise(
    counts: Mapping[str, Mapping[str, Mapping[str, int]]],
    measured: Mapping[str, Measured],
) -> dict[str, Any]:
    """Join what was measured to one record, in per cent.

    Args:
        counts: of insiders and outsiders, by dataset and kind.
        measured: by method, dataset and seed: {"ece", "scores": {score: {kind: measures}}}.

    Returns:
        {"counts", "methods": {method: {"ece": {"avg", "datasets"}, "scores": {score: {kind:
        {"avg", "datasets"}}}}}}; a dataset has its mean over seeds and every seed.
    """
    kinds = [kind for kind in KINDS if any(kind in found for found in counts.values())]
    methods = {}
    for method, datasets in measured.items():
        names = next(iter(next(iter(datasets.values())).values()))["scores"]
        methods[method] = {
            "ece": _joined(_picked(datasets, lambda one: {"ece": one["ece"]})),
            "scores": {
                score: {kind: _joined(_of_score(datasets, score, kind)) for kind in kinds}
                for score in names
            },
        }
    return {"counts": counts, "methods": methods}


def _of_score(datasets: Measured, score: str, kind: str) -> BySeed:
    having = {
        dataset: seeds
        for dataset, seeds in datasets.items()
        if all(kind in one["scores"][score] for one in seeds.values())
    }
    return _picked(having, lambda one: one["scores"][score][kind])


def _picked(datasets: Measured, pick: Callable[[Mapping[str, Any]], Mapping[str, float]]) -> BySeed:
    return {
        dataset: {seed: pick(one) for seed, one in seeds.items()}
        for dataset, seeds in datasets.items()
    }


def _joined(datasets: BySeed) -> dict[str, Any]:
    """Return {"avg", "datasets": {dataset: {..., "seeds"}}} of values by dataset and seed."""
    means = {dataset: _means(seeds.values()) for dataset, seeds in datasets.items()}
    return {
        "avg": _means(means.values()),
        "datasets": {
            dataset: {
                **means[dataset],
                "seeds": {str(seed): dict(values) for seed, values in seeds.items()},
            }
            for dataset, seeds in datasets.items()
        },
    }


def _means(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    listed = list(rows)
    return {key: mean(row[key] for row in listed) for key in listed[0]}


def usual_table(record: Mapping[str, Any]) -> str:
    """Return AUROC of the scores that are usual, and each method's calibration error."""
    kinds = _kinds(record)
    rows = [("method", "score", *(KIND_TITLES[kind] for kind in kinds), "ECE")]
    for method, score, found in _rows(record, USUAL):
        cells = (f"{found[kind]['avg']['auroc']:.2f}" for kind in kinds)
        ece = f"{record['methods'][method]['ece']['avg']['ece']:.2f}"
        rows.append((TITLES[method], SCORE_TITLES[score], *cells, ece))
    return markdown(rows)


def scores_table(record: Mapping[str, Any]) -> str:
    """Return AUROC / FPR at 95 % TPR of every method and score as a Markdown table."""
    kinds = _kinds(record)
    rows = [("method", "score", *(KIND_TITLES[kind] for kind in kinds))]
    for method, score, found in _rows(record, tuple(SCORE_TITLES)):
        averages = (found[kind]["avg"] for kind in kinds)
        cells = (f"{avg['auroc']:.2f} / {avg['fpr95']:.2f}" for avg in averages)
        rows.append((TITLES[method], SCORE_TITLES[score], *cells))
    return markdown(rows)


def datasets_table(record: Mapping[str, Any], kind: str) -> str:
    """Return AUROC of the usual scores on every dataset that has outsiders of a kind."""
    datasets = [name for name, found in record["counts"].items() if kind in found]
    rows = [(KIND_TITLES[kind], "score", *datasets)]
    for method, score, found in _rows(record, USUAL):
        cells = (f"{found[kind]['datasets'][name]['auroc']:.2f}" for name in datasets)
        rows.append((TITLES[method], SCORE_TITLES[score], *cells))
    return markdown(rows)


def calibration_table(record: Mapping[str, Any]) -> str:
    """Return the calibration error of every method on every dataset as a Markdown table."""
    rows = [("ECE", *record["counts"])]
    for method, result in record["methods"].items():
        cells = (f"{found['ece']:.2f}" for found in result["ece"]["datasets"].values())
        rows.append((TITLES[method], *cells))
    return markdown(rows)


def _rows(
    record: Mapping[str, Any], scores: tuple[str, ...]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield method, score and what it found by kind, for the scores that a method has."""
    for method, result in record["methods"].items():
        for score in scores:
            if score in result["scores"]:
                yield method, score, result["scores"][score]


def text(record: Mapping[str, Any]) -> str:
    """Return all tables, each after a line on what it shows."""
    parts = [
        "AUROC of the usual scores, and calibration error (ECE) on base test images, in per cent:",
        usual_table(record),
        "AUROC / FPR at 95 % TPR of every score:",
        scores_table(record),
        "AUROC of the usual scores by dataset:",
        *(datasets_table(record, kind) for kind in _kinds(record)),
        "Calibration error by dataset:",
        calibration_table(record),
    ]
    return "\n\n".join(parts) + "\n"


def _kinds(record: Mapping[str, Any]) -> list[str]:
    """Return the kinds that any dataset has."""
    return list(next(iter(next(iter(record["methods"].values()))["scores"].values())))


def plot(record: Mapping[str, Any], file: BinaryIO) -> None:
    """Draw the average AUROC of every method and score, one panel a kind of outsider."""
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    kinds, methods = _kinds(record), list(record["methods"])
    figure = Figure(
        figsize=(3 + 3 * len(kinds), 1.6 + 0.36 * len(methods)), layout="constrained", dpi=130
    )
    panels = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for mark, score in zip("o|xDs^*", SCORE_TITLES, strict=True):
            having = [n for n, m in enumerate(methods) if score in record["methods"][m]["scores"]]
            values = [
                record["methods"][methods[n]]["scores"][score][kind]["avg"]["auroc"] for n in having
            ]
            axes.plot(values, having, mark, markersize=5, label=SCORE_TITLES[score])
        axes.axvline(50, color="0.6", linewidth=1)
        axes.set_title(KIND_TITLES[kind])
        axes.set_xlabel("AUROC, %")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(methods)), [TITLES[method] for method in methods])
    panels[0].invert_yaxis()
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(file, format="png", metadata={"Software": None})


def plot_line(line: str, file: BinaryIO) -> None:
    """Draw a line of text, where there is nothing to plot."""
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    figure = Figure(figsize=(6, 1), dpi=130)
    figure.text(0.5, 0.5, line, ha="center", va="center")
    figure.savefig(file, format="png", metadata={"Software": None})
