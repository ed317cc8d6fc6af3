"""Tables of our accuracies beside published ones, where both are of the same student.

Transductive methods have a column or a table of their own.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from fdbpl.data.published import PUBLISHED, TEST, TEST_BASE, TEST_NEW
from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.record import Run
from fdbpl.methods.registry import METHODS, title_of
from fdbpl.reporting import published_results as published
from fdbpl.reporting.tables import markdown, number, with_deviation

COMPARED = ("zero_shot", *(m.name for m in METHODS.values() if m.learns and m.transfers))
"""Our methods that stand beside others' zero-shot and learned prompts."""

SOURCE = "imagenet"
TARGETS = frozenset(next(iter(published.BASE_TO_NEW["ViT-B/16"].values()))) - {SOURCE, "average"}
"""The ten datasets that published cross-dataset averages are over."""

DASH = "-"


def backbone_of(students: Sequence[Mapping[str, str]]) -> str | None:
    """Return what papers call the student of all records; None where they tell none known.

    A student is known by an architecture of `published.BACKBONES` and OpenAI's weights, under
    their tag in open_clip; one student of several records, or none.
    """
    found = {_backbone(student) for student in students}
    return found.pop() if len(found) == 1 else None


def _backbone(student: Mapping[str, str]) -> str | None:
    architecture = student.get("architecture", "").removesuffix("-quickgelu")
    is_openai = student.get("weights") == "tag openai"
    return published.BACKBONES.get(architecture) if is_openai else None


def unlike_published(runs: Mapping[str, Run], comparison: Mapping[str, Any]) -> list[str]:
    """Return the benchmarks that were tested on other numbers of images than those of the papers.

    Args:
        runs: of base-to-new, by dataset.
        comparison: what it says of a transfer and of all classes, where it has them.
    """
    found = {
        name: tuple(run.test_images.get(half) for half in ("base", "new"))
        for name, run in runs.items()
        if name in PUBLISHED
    }
    wanted = {name: (PUBLISHED[name][TEST_BASE], PUBLISHED[name][TEST_NEW]) for name in found}
    whole = {
        **comparison.get("transfer", {}).get("targets", {}),
        **comparison.get("all_classes", {}).get("datasets", {}),
    }
    tested = {name: about["test_images"] for name, about in whole.items() if name in PUBLISHED}
    return [
        *(name for name in found if found[name] != wanted[name]),
        *(name for name in tested if tested[name] != PUBLISHED[name][TEST] and name not in found),
    ]


def published_tables(
    comparison: Mapping[str, Any],
    backbone: str,
    *,
    without: Collection[str],
    protocol: str,
) -> list[str]:
    """Return Markdown tables of all three protocols, each with a line before and its source.

    Args:
        comparison: all that the sections of the protocols say, by their keys.
        backbone: of both, as `backbone_of` returns it.
        without: datasets that are not those of the papers, whatever they are called.
        protocol: our shots and seeds, in words.
    """
    methods, transfer = comparison["methods"], comparison.get("transfer")
    ours = {name: methods[name] for name in COMPARED if name in methods}
    parts = [*_base_to_new(ours, backbone, without), *_averages(ours, backbone, without)]
    parts += _all_classes(comparison.get("all_classes", {}), backbone, without)
    if transfer is not None and transfer["source"] == SOURCE and SOURCE not in without:
        moved = {
            name: transfer["methods"][name] for name in COMPARED if name in transfer["methods"]
        }
        parts += _cross_dataset(moved, transfer["targets"], backbone, without)
        parts += _shifted(moved, transfer["targets"], backbone, without)
    if not parts:
        return []
    head = (
        f"Beside what is published of {backbone} with OpenAI's weights, 16 shots, 3 seeds "
        f"(ours: {protocol}) where a table does not say others, in per cent. "
        "Transductive methods train on unlabelled images of all classes, the new ones among them, "
        "and stand apart."
    )
    return [head, *parts]


def _base_to_new(ours: Mapping[str, Any], backbone: str, without: Collection[str]) -> Iterator[str]:
    theirs = _apart(published.BASE_TO_NEW.get(backbone, {}))
    datasets = _common(ours, next(iter(theirs.values()), {}), without)
    if not datasets:
        return
    rows: list[tuple[str, ...]] = [("H", *map(_title, ours), *map(_published, theirs))]
    for dataset in datasets:
        cells = (result["datasets"][dataset] for result in ours.values())
        rows.append(
            (
                dataset,
                *(with_deviation(cell["h"], cell["h_std"]) for cell in cells),
                *(number(halves[dataset].h) for halves in theirs.values()),
            )
        )
    averages = (
        *(_average([result["datasets"][name] for name in datasets]) for result in ours.values()),
        *(_average([halves[name]._asdict() for name in datasets]) for halves in theirs.values()),
    )
    rows.append((f"average of {len(datasets)}", *averages))
    yield f"Base-to-new, by dataset; published: {published.PROMPTKD}.\n\n{markdown(rows)}"


def _average(cells: Sequence[Mapping[str, float]]) -> str:
    """Return H of the averaged halves."""
    base, new = (sum(cell[half] for cell in cells) / len(cells) for half in ("base", "new"))
    return number(harmonic_mean(base, new))


def _averages(ours: Mapping[str, Any], backbone: str, without: Collection[str]) -> Iterator[str]:
    """Yield the averages over all eleven, where ours are over the same eleven and no others."""
    theirs = published.AVERAGES.get(backbone, {})
    eleven = {*TARGETS, SOURCE}
    if (
        not theirs
        or not ours
        or set(next(iter(ours.values()))["datasets"]) != eleven
        or eleven & set(without)
    ):
        return
    head = ("method", "base", "new", "H")
    rows: list[tuple[str, ...]] = [head]
    for method, result in ours.items():
        rows.append((_title(method), *(number(result["avg"][key]) for key in ("base", "new", "h"))))
    apart: list[tuple[str, ...]] = [head]
    for method, halves in theirs.items():
        row = (_published(method), *map(number, halves))
        (apart if method in published.TRANSDUCTIVE else rows).append(row)
    yield (
        f"Base-to-new, average of the eleven; published: {published.AWESOME}.\n\n{markdown(rows)}"
    )
    yield f"Transductive:\n\n{markdown(apart)}"


def _all_classes(
    summary: Mapping[str, Any], backbone: str, without: Collection[str]
) -> Iterator[str]:
    """Yield the averages at the shots of both, where ours are over the same eleven."""
    theirs, eleven = published.ALL_CLASSES.get(backbone, {}), {*TARGETS, SOURCE}
    if not theirs or set(summary.get("datasets", {})) != eleven or eleven & set(without):
        return
    ours = {
        method: of["avg"]
        for method, of in summary["methods"].items()
        if None not in of["avg"].values() and not _is_teacher(method)
    }
    known = next(iter(theirs.values()))
    shots = [n for n in next(iter(ours.values()), {}) if n in known]
    if not shots:
        return
    rows: list[tuple[str, ...]] = [("shots of each class", *shots)]
    rows += [(_title(method), *(number(of[n]) for n in shots)) for method, of in ours.items()]
    rows += [(_published(method), *(number(of[n]) for n in shots)) for method, of in theirs.items()]
    yield (
        "All classes learned, average of the eleven; published: "
        f"{published.CLIP_SVD}.\n\n{markdown(rows)}"
    )


def _is_teacher(method: str) -> bool:
    return method in METHODS and METHODS[method].sees == "teacher"


def _cross_dataset(
    ours: Mapping[str, Any], targets: Mapping[str, Any], backbone: str, without: Collection[str]
) -> Iterator[str]:
    """Yield the averages of the ten targets, where ours are over the same ten."""
    theirs = published.CROSS_DATASET.get(backbone, {})
    found = {name for name, about in targets.items() if about["kind"] == "cross-dataset"}
    if not theirs or found != TARGETS or found & set(without):
        return
    rows: list[tuple[str, ...]] = [("method", "average of 10", "the same, transductive")]
    rows += [
        (_title(method), number(result["avg"]["cross-dataset"]), DASH)
        for method, result in ours.items()
    ]
    for method, average in theirs.items():
        cells = (number(average), DASH)
        is_apart = method in published.TRANSDUCTIVE
        rows.append((_published(method), *(cells[::-1] if is_apart else cells)))
    yield (
        f"Cross-dataset, learned on {SOURCE}; published: {published.PROMPTKD}.\n\n{markdown(rows)}"
    )


def _shifted(
    ours: Mapping[str, Any], targets: Mapping[str, Any], backbone: str, without: Collection[str]
) -> Iterator[str]:
    """Yield the source and every shifted version that is ours too; the average where all are."""
    theirs = published.SHIFTED.get(backbone, {})
    versions = set(next(iter(theirs.values()), {})) - {SOURCE, "average"}
    shown = [name for name in targets if name in versions - set(without)]
    if not shown:
        return
    whole = ["average"] if len(shown) == len(versions) else []
    rows: list[tuple[str, ...]] = [("method", SOURCE, *shown, *whole)]
    for method, result in ours.items():
        cells = [result["targets"][name]["mean"] for name in shown]
        averages = [sum(cells) / len(cells)] * len(whole)
        values = (result["avg"]["source"], *cells, *averages)
        rows.append((_title(method), *map(number, values)))
    for method, accuracies in theirs.items():
        values = tuple(accuracies[name] for name in (SOURCE, *shown, *whole))
        rows.append((_published(method), *map(number, values)))
    yield f"Shifted, learned on {SOURCE}; published: {published.KDPL}.\n\n{markdown(rows)}"


def _common(
    ours: Mapping[str, Any], theirs: Collection[str], without: Collection[str]
) -> list[str]:
    datasets = next(iter(ours.values()))["datasets"] if ours else {}
    return [name for name in datasets if name in theirs and name not in without]


def _apart(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the methods with the transductive ones last."""
    return dict(sorted(theirs.items(), key=lambda pair: pair[0] in published.TRANSDUCTIVE))


def _title(method: str) -> str:
    return f"{title_of(method)}, here"


def _published(method: str) -> str:
    kind = "published, transductive" if method in published.TRANSDUCTIVE else "published"
    return f"{method}, {kind}"
