"""The page of results: a summary from evidence alone, then the long tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fdbpl.evaluation.statistics import COVERAGE
from fdbpl.methods.registry import title_of
from fdbpl.reporting.ood_report import KIND_TITLES, KINDS_EXPLAINED
from fdbpl.reporting.tables import markdown, number
from fdbpl.results.world import World, together
from fdbpl.settings.params import Params

OURS, TEMPLATE, BARE = "fdbpl", "zero_shot", "template_memory"
OTHER_CONTEXTS = ("coop_memory", "kdpl_memory")
WHOLE, TRANSFER = ("H", "joint H"), ("cross-dataset", "shifted")
EACH = (*WHOLE, "base", "new")
CONTRASTS = (
    *(("", OURS, rival, WHOLE) for rival in ("kdpl", "coop", TEMPLATE)),
    *(("", OURS, rival, ("H",)) for rival in ("gda", "gda_teacher")),  # see `_how` on joint H
    ("**Prompts' part**: ", OURS, BARE, EACH),
    ("**Memory's and bridge's part**: ", BARE, TEMPLATE, EACH),
    *(("**Another context's part**: ", method, BARE, EACH) for method in OTHER_CONTEXTS),
    *(("**Transfer**: ", OURS, rival, TRANSFER) for rival in (TEMPLATE, BARE, *OTHER_CONTEXTS)),
)
"""What the summary says: what it is about, of whom, against whom, by which measures."""

COLUMNS = ("base", "new", "H", "joint base", "joint new", "joint H", *TRANSFER)
WORDS = {1: "beats it", 0: "is not distinguishable from it", -1: "falls behind it"}

Of = tuple[str, str]  # a measure and a method
Cell = Callable[[Any, Any], str]


def page(params: Params, worlds: Sequence[World], about: str, further: Mapping[str, str]) -> str:
    """Return docs/results.md.

    Args:
        params: they say which datasets choices were made on.
        worlds: the one that the parameters describe, then others.
        about: commit and machine.
        further: what else the page shows, by title.
    """
    each = [world.only(lambda name: name not in params.development) for world in worlds]
    evidence = together(each)
    developed = together([world.only(lambda name: name in params.development) for world in worlds])
    unnamed = "datasets that params.yaml does not name"
    parts = [
        f"# Results\n\nWritten by `fdbpl results` at {about}. No number here was typed by hand.",
        _how(params, [world.title for world in worlds]),
        "## In plain words, from evidence alone",
        f"{len(evidence.datasets())} datasets: {', '.join(evidence.datasets())}.",
        _accuracies(evidence),
        "\n".join(_sentences(evidence)),
        f"## By dataset\n\n{_by_dataset(evidence)}",
        "## Transfer",
        *([*_transfer(evidence)] or ["No record. Run `dvc repro`, or `fdbpl transfer`."]),
        "## OOD detection",
        *([*_ood(evidence)] or ["No record. Run `dvc repro`, or `fdbpl ood`."]),
        *(_apart(each) if len(worlds) > 1 else ()),
        "## Development",
        f"Choices were made on {', '.join(developed.datasets()) or unnamed}: this is no evidence.",
        *([_accuracies(developed), _by_dataset(developed)] if developed.methods() else ()),
        *(f"## {title}\n\n{text.strip()}" for title, text in further.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _how(params: Params, worlds: Sequence[str]) -> str:
    regions, train = params.regions, params.train
    models = (
        f"{role} {model.architecture} ({model.weights})"
        for role, model in (("student", params.student), ("teacher", params.teacher))
    )
    options = f"; options {params.objectives}" if params.objectives else ""
    likewise = f", and worlds ({', '.join(worlds)}) likewise" if len(worlds) > 1 else ""
    return (
        f"Of {', '.join(models)}; {params.shots} shots, seeds {', '.join(map(str, params.seeds))}; "
        f"{regions.per_image} regions an image of {regions.scale[0]:g} to {regions.scale[1]:g} of "
        f"its area; {train.epochs} epochs, batch {train.batch}, rate {train.lr:g}{options}.\n\n"
        "Per cent everywhere. Base and new are each tested apart, joint base and joint new where "
        "all classes compete; H is that of the averages. Of the linear probe, Tip-Adapter and GDA "
        "joint figures are those of two classifiers side by side, theirs and the template's, on "
        "whose levels nobody agreed: nothing is claimed against them. Seeds are averaged first"
        f"{likewise}. A difference is paired by dataset; behind it stands its {COVERAGE} % "
        "t-interval over datasets, that of H by the delta method. Who beats, or falls behind, has "
        "one without 0: where nothing differs, one in twenty still has. Each dataset's own "
        f"hand-written template is called {_title(TEMPLATE)}."
    )


def _title(method: str) -> str:
    return title_of(method)


def _table(corner: str, rows: Mapping[str, Any], columns: Mapping[str, Any], cell: Cell) -> str:
    """Return a table by its rows and columns, each by its title."""
    lines = ((title, *(cell(row, one) for one in columns.values())) for title, row in rows.items())
    return markdown([(corner, *columns), *lines])


def _rows(world: World, measure: str = "base") -> dict[str, str]:
    return {_title(method): method for method in world.methods(measure)}


def _beside(world: World, ours: Of, theirs: Of) -> str:
    """Return a mean and its difference from another."""
    gap = world.difference(ours, theirs) if ours != theirs else None
    return number(world.mean(*ours)) + (f", {gap}" if gap else "")


def _accuracies(world: World) -> str:
    columns = {one: one for one in COLUMNS}
    return _table("method", _rows(world), columns, lambda m, one: number(world.mean(one, m)))


def _by_dataset(world: World) -> str:
    columns = {name: world.only(name.__eq__) for name in world.datasets()} | {"average": world}

    def cell(method: str, one: World) -> str:
        return " / ".join(number(one.mean(measure, method)) for measure in WHOLE)

    return _table(" / ".join(WHOLE), _rows(world), columns, cell)


def _sentences(world: World) -> Iterator[str]:
    """Say of every contrast, and of every kind of OOD, who is ahead, or that nobody is."""
    for about, ours, theirs, measures in CONTRASTS:
        pairs = {f"in {one}": ((one, ours), (one, theirs)) for one in measures}
        yield from _told(world, f"{about}{_title(ours)} against {_title(theirs)}", pairs)
    for kind in KIND_TITLES.values():
        energy = (f"energy, {kind}", TEMPLATE)
        pairs = {f"by {one}": ((f"{one}, {kind}", OURS), energy) for one in _scores(world)}
        about = f"**AUROC, {kind}**: {_title(OURS)} against energy of {_title(TEMPLATE)}"
        yield from _told(world, about, pairs)


def _told(world: World, about: str, pairs: Mapping[str, tuple[Of, Of]]) -> Iterator[str]:
    gaps = {name: world.difference(*pair) for name, pair in pairs.items()}
    by_sign = (
        (word, [f"{name} {gap}" for name, gap in gaps.items() if gap and gap.sign == sign])
        for sign, word in WORDS.items()
    )
    if told := [f"{word} {', '.join(found)}" for word, found in by_sign if found]:
        yield f"- {about}: {'; '.join(told)}."


def _scores(world: World) -> list[str]:
    """Return the names of all OOD scores."""
    return list(dict.fromkeys(one.partition(", ")[0] for one in world.measures if ", " in one))


def _transfer(world: World) -> Iterator[str]:
    """Yield the averages with their differences from the targets' own template, then targets."""
    kinds = {kind: kind for kind in TRANSFER if kind in world.measures}
    targets = {name: (kind, name) for kind in kinds for name in world.datasets(kind)}
    if targets:
        rows = _rows(world, *list(kinds)[:1])
        yield f"Learned on {world.source}. Averages, with differences from {_title(TEMPLATE)}:"
        yield _table("method", rows, kinds, lambda m, k: _beside(world, (k, m), (k, TEMPLATE)))
        yield _table("method", rows, targets, lambda m, t: number(world.values(t[0], m).get(t[1])))


def _ood(world: World) -> Iterator[str]:
    """Yield AUROC of every method's scores, and calibration errors."""
    measured = (*KIND_TITLES.values(), "ECE")
    kinds = {kind: kind for kind in measured if f"energy, {kind}" in world.measures}
    rows = {
        f"{title}, {score}": (score, method)
        for title, method in _rows(world, "energy, ECE").items()
        for score in _scores(world)
        if world.values(f"{score}, ECE", method)
    }

    def cell(row: Of, kind: str) -> str:
        score, method = row
        return _beside(world, (f"{score}, {kind}", method), (f"energy, {kind}", TEMPLATE))

    if rows:
        yield KINDS_EXPLAINED
        yield f"AUROC and calibration error, with differences from {_title(TEMPLATE)}, energy:"
        yield _table("method, score", rows, kinds, cell)


def _apart(worlds: Sequence[World]) -> Iterator[str]:
    """Yield the main differences in every world side by side, then each world's averages."""
    rows = {
        f"{one}, {_title(ours)} - {_title(theirs)}": ((one, ours), (one, theirs))
        for _, ours, theirs, measures in CONTRASTS
        for one in measures[:2]
    }
    columns = {world.title: world for world in worlds}
    yield "## Each world by itself"
    yield _table("difference", rows, columns, lambda pair, w: str(w.difference(*pair) or "-"))
    yield from (f"### {world.title}\n\n{_accuracies(world)}" for world in worlds)
