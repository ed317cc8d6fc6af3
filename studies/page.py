"""The page of results: a summary from evidence alone, then the long tables."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fdbpl.evaluation.statistics import COVERAGE
from fdbpl.methods.registry import title_of
from fdbpl.reporting.ood_report import KIND_TITLES, KINDS_EXPLAINED
from fdbpl.reporting.tables import markdown, number
from fdbpl.settings.params import Params
from studies.measures import Measures

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
Named = Mapping[str, Any]  # rows or columns by title


def page(params: Params, measures: Measures, about: str, further: Mapping[str, str]) -> str:
    """Return docs/results.md.

    Args:
        params: they say which datasets choices were made on.
        measures: of all datasets.
        about: commit and machine.
        further: what else the page shows, by title.
    """
    evidence = measures.only(lambda name: name not in params.development)
    developed = measures.only(lambda name: name in params.development)
    chosen = ", ".join(developed.datasets()) or "datasets that params.yaml does not name"
    development = [f"Choices were made on {chosen}: this is no evidence."]
    if developed.methods():
        development += [_accuracies(developed), _by_dataset(developed)]
    tables = {
        "By dataset": [_by_dataset(evidence)],
        "Transfer": [*_transfer(evidence)]
        or ["No record. Add transfer to protocols in params.yaml, and run `dvc repro`."],
        "OOD detection": [*_ood(evidence)] or ["No record. Run `dvc repro`, or `fdbpl ood`."],
        "Development": development,
        **{title: [text.strip()] for title, text in further.items()},
    }
    parts = [
        "# Results",
        f"Written by `python -m studies.results` at {about}. No number here was typed by hand.",
        "## In plain words, from evidence alone",
        f"{len(evidence.datasets())} datasets: {', '.join(evidence.datasets())}.",
        _accuracies(evidence),
        "\n".join(_sentences(evidence)),
        "## How it was measured",
        _how(params),
        "## The tables",
        *(_folded(title, shown) for title, shown in tables.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _folded(title: str, parts: list[str]) -> str:
    """Return a section that a reader opens by a click: long tables stand behind the summary."""
    return "\n\n".join([f"### {title}", "<details><summary>Show</summary>", *parts, "</details>"])


def _how(params: Params) -> str:
    regions, train = params.regions, params.train
    models = (
        f"{role} {model.architecture} ({model.weights})"
        for role, model in (("student", params.student), ("teacher", params.teacher))
    )
    options = f"; options {params.objectives}" if params.objectives else ""
    return (
        f"Of {', '.join(models)}; {params.shots} shots, seeds {', '.join(map(str, params.seeds))}; "
        f"{regions.per_image} regions an image of {regions.scale[0]:g} to {regions.scale[1]:g} of "
        f"its area; {train.epochs} epochs, batch {train.batch}, rate {train.lr:g}{options}.\n\n"
        "Per cent everywhere. Base and new are each tested apart, joint base and joint new where "
        "all classes compete; H is that of the averages. Of the linear probe, Tip-Adapter and GDA "
        "joint figures are those of two classifiers side by side, theirs and the template's, on "
        "whose levels nobody agreed: nothing is claimed against them. Seeds are averaged first. "
        f"A difference is paired by dataset; behind it stands its {COVERAGE} % "
        "t-interval over datasets, that of H by the delta method. Who beats, or falls behind, has "
        "one without 0: where nothing differs, one in twenty still has. Each dataset's own "
        f"hand-written template is called {_title(TEMPLATE)}."
    )


def _title(method: str) -> str:
    return title_of(method)


def _table(corner: str, rows: Named, columns: Named, cell: Callable[[Any, Any], str]) -> str:
    """Return a table by its rows and columns, each by its title."""
    lines = ((title, *(cell(row, one) for one in columns.values())) for title, row in rows.items())
    return markdown([(corner, *columns), *lines])


def _rows(measures: Measures, measure: str = "base") -> dict[str, str]:
    return {_title(method): method for method in measures.methods(measure)}


def _beside(measures: Measures, ours: Of, theirs: Of) -> str:
    """Return a mean and its difference from another."""
    gap = measures.difference(ours, theirs) if ours != theirs else None
    return number(measures.mean(*ours)) + (f", {gap}" if gap else "")


def _accuracies(measures: Measures) -> str:
    columns = {one: one for one in COLUMNS}
    return _table(
        "method", _rows(measures), columns, lambda method, one: number(measures.mean(one, method))
    )


def _by_dataset(measures: Measures) -> str:
    columns = {name: measures.only(name.__eq__) for name in measures.datasets()}
    columns["average"] = measures

    def cell(method: str, one: Measures) -> str:
        return " / ".join(number(one.mean(measure, method)) for measure in WHOLE)

    return _table(" / ".join(WHOLE), _rows(measures), columns, cell)


def _sentences(measures: Measures) -> Iterator[str]:
    """Say of every contrast, and of every kind of OOD, who is ahead, or that nobody is."""
    for about, ours, theirs, names in CONTRASTS:
        pairs = {f"in {one}": ((one, ours), (one, theirs)) for one in names}
        yield from _told(measures, f"{about}{_title(ours)} against {_title(theirs)}", pairs)
    for kind in KIND_TITLES.values():
        energy = (f"energy, {kind}", TEMPLATE)
        pairs = {f"by {one}": ((f"{one}, {kind}", OURS), energy) for one in _scores(measures)}
        about = f"**AUROC, {kind}**: {_title(OURS)} against energy of {_title(TEMPLATE)}"
        yield from _told(measures, about, pairs)


def _told(measures: Measures, about: str, pairs: Mapping[str, tuple[Of, Of]]) -> Iterator[str]:
    gaps = {name: measures.difference(*pair) for name, pair in pairs.items()}
    by_sign = (
        (word, [f"{name} {gap}" for name, gap in gaps.items() if gap and gap.sign == sign])
        for sign, word in WORDS.items()
    )
    if told := [f"{word} {', '.join(found)}" for word, found in by_sign if found]:
        yield f"- {about}: {'; '.join(told)}."


def _scores(measures: Measures) -> list[str]:
    """Return the names of all OOD scores."""
    return list(dict.fromkeys(one.partition(", ")[0] for one in measures.found if ", " in one))


def _transfer(measures: Measures) -> Iterator[str]:
    """Yield the averages with their differences from the targets' own template, then targets."""
    kinds = {kind: kind for kind in TRANSFER if kind in measures.found}
    targets = {name: (kind, name) for kind in kinds for name in measures.datasets(kind)}
    if not targets:
        return
    rows = _rows(measures, *list(kinds)[:1])

    def target(method: str, of: tuple[str, str]) -> str:
        return number(measures.values(of[0], method).get(of[1]))

    yield f"Learned on {measures.source}. Averages, with differences from {_title(TEMPLATE)}:"
    yield _table("method", rows, kinds, lambda m, k: _beside(measures, (k, m), (k, TEMPLATE)))
    yield _table("method", rows, targets, target)


def _ood(measures: Measures) -> Iterator[str]:
    """Yield AUROC of every method's scores, and calibration errors."""
    kinds = {
        kind: kind for kind in (*KIND_TITLES.values(), "ECE") if f"energy, {kind}" in measures.found
    }
    rows = {
        f"{title}, {score}": (score, method)
        for title, method in _rows(measures, "energy, ECE").items()
        for score in _scores(measures)
        if measures.values(f"{score}, ECE", method)
    }

    def cell(row: Of, kind: str) -> str:
        score, method = row
        return _beside(measures, (f"{score}, {kind}", method), (f"energy, {kind}", TEMPLATE))

    if rows:
        yield KINDS_EXPLAINED
        yield f"AUROC and calibration error, with differences from {_title(TEMPLATE)}, energy:"
        yield _table("method, score", rows, kinds, cell)
