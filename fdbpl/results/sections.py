"""The sections of the page, one a protocol: a table, and what it says in plain words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.reporting.tables import TITLES, datasets_table, markdown
from fdbpl.results import standing
from fdbpl.results.standing import Table, difference, mean_of, verdict
from fdbpl.results.world import World

OURS = "fdbpl"
RIVALS = ("kdpl", "coop")
GENERIC = "zero_shot_generic"
DASH = "-"
COMBINED = "combined"
BASELINE_SCORES = ("max_softmax", "energy")
KINDS = {
    "empty": "empty regions",
    "new-class": "images of new classes",
    "other-dataset": "images of other datasets",
}


@dataclass(frozen=True)
class Section:
    """A part of the page: its body in Markdown, and the verdicts that go to the top."""

    body: str
    verdicts: tuple[str, ...]


def base_to_new(world: World, datasets: Sequence[str]) -> Section:
    """Compare all methods on some datasets of a world, base to new."""
    measured = _measured(world, datasets)
    h = {method: tables["h"] for method, tables in measured.items()}
    rivals = [rival for rival in RIVALS if h.get(rival)]
    head = ("method", "base", "new", "H", "mean H", *(f"H - {TITLES[rival]}" for rival in rivals))
    rows: list[tuple[str, ...]] = [(*head, f"above {TITLES[GENERIC]}")]
    for method, tables in measured.items():
        base, new = (_mean(tables[half]) for half in ("base", "new"))
        joint = None if base is None or new is None else harmonic_mean(base, new)
        gaps = (_gap(h[method], h[rival], method == rival) for rival in rivals)
        above = _above_generic(measured, method)
        rows.append(
            (
                TITLES[method],
                *map(_number, (base, new, joint, _mean(h[method]))),
                *gaps,
                above or DASH,
            )
        )
    text = [markdown(rows), _by_dataset(world, [name for name in h if h[name]], datasets)]
    verdicts = []
    if h.get(OURS):
        verdicts = list(_against(h, rivals, f"H on {_count(datasets)}"))
        verdicts += [_halves(measured, rival) for rival in rivals]
        if above := _above_generic(measured, OURS):
            verdicts += [
                f"{TITLES[OURS]} is above {TITLES[GENERIC]} on {above} of {_count(datasets)}.",
                _new_over_generic(measured),
            ]
    if fitted := [TITLES[method] for method in measured if not h[method]]:
        text.insert(
            1, f"No new and no H, since it knows the base classes alone: {', '.join(fitted)}."
        )
    return Section("\n\n".join(text), tuple(verdicts))


def above_generic(world: World, datasets: Sequence[str]) -> str:
    """Say on how many datasets ours is above the generic prompt: "5 (H 6, new 5)", or nothing."""
    measured = _measured(world, datasets)
    return _above_generic(measured, OURS) if OURS in measured else ""


def _measured(world: World, datasets: Sequence[str]) -> dict[str, dict[str, Table | None]]:
    return {
        method: {
            measure: standing.accuracies(world.comparison, method, datasets, measure)
            for measure in ("base", "new", "h")
        }
        for method in world.methods
    }


def _against(tables: dict[str, Table | None], rivals: Sequence[str], measure: str) -> Iterator[str]:
    ours = tables[OURS]
    for rival in rivals:
        theirs = tables[rival]
        if ours and theirs:
            yield verdict(TITLES[OURS], TITLES[rival], measure, difference(ours, theirs))


def _halves(measured: dict[str, dict[str, Table | None]], rival: str) -> str:
    """Say in which half we gain or lose against a rival, and where the least and the most."""
    ours, theirs = measured[OURS], measured[rival]
    base, new = (_difference_of_means(ours[half], theirs[half]) for half in ("base", "new"))
    by_dataset = {
        name: _difference_of_means({name: seeds}, {name: (theirs["h"] or {})[name]})
        for name, seeds in (ours["h"] or {}).items()
    }
    least, most = (choose(by_dataset, key=lambda name: by_dataset[name]) for choose in (min, max))
    return (
        f"{TITLES[OURS]} minus {TITLES[rival]} by halves: base {base:+.2f}, new {new:+.2f}; H by "
        f"dataset from {by_dataset[least]:+.2f} ({least}) to {by_dataset[most]:+.2f} ({most})."
    )


def _difference_of_means(ours: Table | None, theirs: Table | None) -> float:
    return mean_of(ours or {}) - mean_of(theirs or {})


def _gap(ours: Table | None, theirs: Table | None, same: bool) -> str:
    return DASH if same or not ours or not theirs else str(difference(ours, theirs))


def _above_generic(measured: dict[str, dict[str, Table | None]], method: str) -> str:
    """Say on how many datasets the method's H and new are above the generic prompt's."""
    generic, tables = measured.get(GENERIC), measured[method]
    if not generic or method == GENERIC:
        return ""
    wins = []
    for measure in ("h", "new"):
        ours, theirs = tables[measure], generic[measure]
        if not ours or not theirs:
            return ""
        wins.append({d for d in ours if mean_of({d: ours[d]}) > mean_of({d: theirs[d]})})
    both = wins[0] & wins[1]
    return f"{len(both)} (H {len(wins[0])}, new {len(wins[1])})"


def _new_over_generic(measured: dict[str, dict[str, Table | None]]) -> str:
    """Say what is gained on new classes over the generic prompt, and on which datasets."""
    ours, theirs = (measured[method]["new"] or {} for method in (OURS, GENERIC))
    told = ", ".join(
        f"{name} {mean_of({name: seeds}) - mean_of({name: theirs[name]}):+.2f}"
        for name, seeds in ours.items()
    )
    return (
        f"{TITLES[OURS]} minus {TITLES[GENERIC]} on new classes: "
        f"{difference(ours, theirs)}; {told}."
    )


def _by_dataset(world: World, methods: Sequence[str], datasets: Sequence[str]) -> str:
    """Return the stage compare's own table, of some methods and datasets."""
    chosen = {}
    for method in methods:
        cells = {name: world.comparison["methods"][method]["datasets"][name] for name in datasets}
        base, new = (
            sum(cell[half] for cell in cells.values()) / len(cells) for half in ("base", "new")
        )
        chosen[method] = {"avg": {"h": harmonic_mean(base, new)}, "datasets": cells}
    return datasets_table({"methods": chosen})


def transfer(world: World, among: Sequence[str] | None, apart: Sequence[str]) -> Iterator[Section]:
    """Yield a section for cross-dataset targets and one for shifted versions.

    Args:
        world: with a transfer.
        among: the targets to take; all where it is None.
        apart: the targets to leave out.
    """
    record = world.transfer
    if record is None:
        return
    for kind in ("cross-dataset", "shifted"):
        targets = [
            name
            for name, about in record["targets"].items()
            if about["kind"] == kind and name not in apart and (among is None or name in among)
        ]
        if targets:
            yield _transfer(world, kind, targets)


def _transfer(world: World, kind: str, targets: Sequence[str]) -> Section:
    record = world.transfer or {}
    tables: dict[str, Table | None] = {
        method: standing.transferred(record, method, targets) for method in record["methods"]
    }
    rivals = [name for name in (*RIVALS, GENERIC) if name in tables]
    rows = [("method", f"{kind}, average of {len(targets)}", *(f"- {TITLES[r]}" for r in rivals))]
    for method, table in tables.items():
        gaps = (_gap(table, tables[rival], method == rival) for rival in rivals)
        rows.append((TITLES[method], _number(_mean(table)), *gaps))
    words = {"cross-dataset": "cross-dataset accuracy", "shifted": "accuracy on shifted versions"}
    told = _against(tables, rivals, f"{words[kind]} ({_count(targets)})") if OURS in tables else ()
    body = f"Learned on {record['source']}; {', '.join(targets)}.\n\n{markdown(rows)}"
    return Section(body, tuple(told))


def rejection(world: World, datasets: Sequence[str]) -> Section | None:
    """Compare AUROC of our combined score with the baselines' scores, for every kind of outsider.

    None where the world has no such record, or not of our method's two contexts.
    """
    record = world.rejection
    if record is None or COMBINED not in record["methods"].get(OURS, {"scores": {}})["scores"]:
        return None
    ours = {
        kind: table
        for kind in KINDS
        if (table := standing.aurocs(record, OURS, COMBINED, kind, datasets))
    }
    first = tuple(cell for kind in ours for cell in (KINDS[kind], f"{TITLES[OURS]} minus it"))
    rows = [("method, score", *first, "ECE")]
    mean_ece = _mean_ece(world, OURS, datasets)
    cells = [cell for table in ours.values() for cell in (_number(_mean(table)), DASH)]
    rows.append((f"{TITLES[OURS]}, {COMBINED}", *cells, mean_ece))
    ahead: dict[str, list[str]] = {kind: [] for kind in ours}
    level: dict[str, list[str]] = {kind: [] for kind in ours}
    for method, score, name in _baselines(record):
        cells = []
        for kind, table in ours.items():
            theirs = standing.aurocs(record, method, score, kind, datasets)
            gap = theirs and difference(table, theirs)
            cells += [_number(_mean(theirs)), str(gap) if gap else DASH]
            if gap and gap.sign < 1:
                (ahead if gap.sign else level)[kind].append(name)
        rows.append((name, *cells, _mean_ece(world, method, datasets)))
    return Section(markdown(rows), tuple(_rejected(ours, ahead, level)))


def _baselines(
    record: Mapping[str, Any],
) -> Iterator[tuple[str, str, str]]:
    for method, result in record["methods"].items():
        for score in BASELINE_SCORES:
            if method != OURS and score in result["scores"]:
                yield method, score, f"{TITLES[method]}, {score.replace('_', ' ')}"


def _rejected(
    ours: dict[str, Table], ahead: dict[str, list[str]], level: dict[str, list[str]]
) -> Iterator[str]:
    for kind in ours:
        what = f"AUROC for {KINDS[kind]}"
        if not ahead[kind] and not level[kind]:
            yield f"{TITLES[OURS]} beats every baseline in {what}."
        if ahead[kind]:
            yield f"{TITLES[OURS]} falls behind in {what}: {'; '.join(ahead[kind])}."
        if level[kind]:
            yield f"{TITLES[OURS]} is not distinguishable in {what} from {'; '.join(level[kind])}."


def _mean_ece(world: World, method: str, datasets: Sequence[str]) -> str:
    cells = (world.rejection or {})["methods"][method]["ece"]["datasets"]
    found = [cells[name]["ece"] for name in datasets if name in cells]
    return _number(sum(found) / len(found) if found else None)


def _mean(table: Table | None) -> float | None:
    return mean_of(table) if table else None


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} dataset{'s' if len(names) != 1 else ''}"
