"""The page of photographs, and the records that it was written from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fdbpl.reporting import few_shot
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole
from studies.contrasts import OURS, contrasts, sentences, way_to_teacher
from studies.measures import Measures
from studies.page import how
from studies.photographs.confusions import MOST, mistakes
from studies.photographs.criteria import JUDGED, criteria, criteria_table
from studies.photographs.goals import goals_section
from studies.photographs.kept import Records, keep, renewed, where
from studies.photographs.plots import few_shot_picture, methods_picture
from studies.photographs.sections import (
    LIMITS,
    PAIRS,
    Run,
    compared,
    confusions,
    datasets_table,
    developed,
    few_shot_contrasts,
    pictures_of,
    seen_all,
)
from studies.records import (
    PHOTOGRAPHS_COMMAND,
    compared_measures,
    evidence_measures,
    few_shot_measures,
    read_over_all,
    transductive_measures,
)
from studies.tables import accuracies, by_dataset, folded, ood, transfer

EVIDENCE, DEVELOPMENT, SECOND, FEW_SHOT = "evidence", "development", "caltech", "few_shot"
SEEN_ALL, OOD = "transductive", "ood"
"""The names of runs. The second is of another source of a transfer; the last is no run, but what
OOD detection on the evidence is kept as."""

METHODS_PICTURE, FEW_SHOT_PICTURE = "photographs/methods.png", "photographs/few_shot.png"


def write_page(
    runs: Mapping[str, Run],
    about: str,
    docs: Path = Path("docs"),
    method: str = OURS,
) -> list[Path]:
    """Write photographs.md, photographs.json and the pictures shown; return their paths.

    What was not run here stays as photographs.json has it, with where it was measured.

    Args:
        runs: any of "evidence", "development", "caltech", "few_shot" and "transductive".
        about: commit and machine.
        docs: the folder to write into.
        method: the one whose confusions are shown.

    Raises:
        UserError: a run was not compared, or with other parameters, or of what its classifiers
            and caches hold something is missing; or evidence is neither run nor kept, or what is
            kept is of another student.
    """
    path = docs / "photographs.json"
    measured = {name: _measured(name, run, method) for name, run in runs.items()}
    if EVIDENCE in runs:
        evidence = runs[EVIDENCE]
        detected = read_over_all("ood", evidence.work, evidence.params)
        measured |= {OOD: detected} if detected else {}
    records = renewed(path, measured, about)
    _require_one_student(path, records)
    contents = {
        "photographs.md": page(records).encode(),
        METHODS_PICTURE: methods_picture(compared_measures(records[EVIDENCE])),
    }
    if FEW_SHOT in records:
        contents[FEW_SHOT_PICTURE] = few_shot_picture(records[FEW_SHOT]["all_classes"])
    keep(path, records)
    for name, content in contents.items():
        write_whole(docs / name, content)
    return [path, *(docs / name for name in contents)]


def _measured(name: str, run: Run, method: str) -> dict[str, Any]:
    """Return what a run left for compare.json, and what else the page says of it."""
    found = {**compared(run), "pictures": pictures_of(run)}
    if name != EVIDENCE:
        return found
    params = run.params
    datasets = [one for one in params.datasets if one not in params.shifted]
    wrong = {one: mistakes(params, run.work, one, method) for one in datasets}
    most = {
        name: asdict(replace(one, confusions=one.confusions[:MOST])) for name, one in wrong.items()
    }
    return {**found, "how": how(params), "confused": method, "confusions": most}


def _require_one_student(path: Path, records: Records) -> None:
    """See that there is evidence, and that all figures of a page are of one student.

    Raises:
        UserError: there is none, or they are not.
    """
    if EVIDENCE not in records:
        raise UserError(f"{path}: no evidence, neither run nor kept. Run --step {EVIDENCE} first.")
    students = {name: one["made_with"]["student"] for name, one in records.items()}
    others = [name for name, one in students.items() if one != students[EVIDENCE]]
    if others:
        raise UserError(
            f"{path}: {', '.join(others)} and {EVIDENCE} are of different students. Run all of "
            "them with the same, or take from the file what is of the other."
        )


def page(records: Records) -> str:
    """Return photographs.md, from what photographs.json holds."""
    evidence = records[EVIDENCE]
    measures = {
        name: compared_measures(records[name])
        for name in (DEVELOPMENT, EVIDENCE, SECOND)
        if name in records
    }
    measures[EVIDENCE] = evidence_measures(records)
    detected = records[OOD]["methods"] if OOD in records else {}
    seeds = len(next(iter(evidence["pictures"].values()))["seeds"])
    parts = [
        "# Photographs",
        f"Written by `{PHOTOGRAPHS_COMMAND}`. No number here was typed by hand; "
        "[photographs.json](photographs.json) holds them all, and more digits.",
        where(records),
        "## In plain words, from evidence alone",
        *_summary(records, measures),
        "## What was wanted of it",
        *goals_section(measures[EVIDENCE], measures.get(SECOND), detected),
        "## What it is evidence of, and of what not",
        LIMITS,
        "## How it was measured",
        evidence["how"],
        datasets_table({name: records[name] for name in measures}),
        *_pair(records),
        "## The tables",
        *(folded(title, shown) for title, shown in _tables(records, measures)),
        "## What is taken for what",
        *confusions(evidence["confusions"], evidence["confused"], seeds),
    ]
    return "\n\n".join(parts) + "\n"


def _pair(records: Records) -> Iterator[str]:
    """Yield whether the pair is what was wanted of it, where all datasets and rivals were run."""
    listed = [records[name]["methods"] for name in (DEVELOPMENT, EVIDENCE) if name in records]
    if len(listed) == 2 and all(set(JUDGED) <= set(methods) for methods in listed):
        yield (
            "What was wanted of the pair, judged on all eleven datasets and by no method of ours; "
            "where a line does not hold, the pair is the nearest of those tried:"
        )
        yield criteria_table(criteria(listed))


def _summary(records: Records, measures: Mapping[str, Measures]) -> Iterator[str]:
    """Yield who is ahead in what, run by run, and the pictures of it."""
    evidence = measures[EVIDENCE]
    learned = f" What is transferred was learned on {evidence.source}." if evidence.source else ""
    names = evidence.datasets()
    yield f"{len(names)} datasets of photographs: {', '.join(names)}.{learned}"
    yield accuracies(evidence)
    yield "\n".join(
        filter(None, [way_to_teacher(evidence), sentences(contrasts(evidence), evidence)])
    )
    if SECOND in measures:
        second = measures[SECOND]
        yield f"Learned on {second.source}, tested on its own shifted versions:"
        yield sentences(contrasts(second), second)
    if SEEN_ALL in records:
        seen = transductive_measures(records[SEEN_ALL][SEEN_ALL])
        yield "Learned from unlabelled pictures of all classes, new ones too (transductive):"
        yield "\n".join(filter(None, [way_to_teacher(seen), sentences(contrasts(seen), seen)]))
    if FEW_SHOT in records:
        shots = few_shot_measures(records[FEW_SHOT])
        yield "All classes learned, from few pictures of each:"
        yield sentences(few_shot_contrasts(shots), shots)
        yield f"![Accuracy by shots of each class, all learned]({FEW_SHOT_PICTURE})"
    yield "Base to new, each half by itself and where all classes compete:"
    yield f"![How far every method is from the template]({METHODS_PICTURE})"


def _tables(
    records: Records, measures: Mapping[str, Measures]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the long tables of what was measured, each with its title."""
    evidence = measures[EVIDENCE]
    yield "By dataset", [by_dataset(evidence, pair) for pair in PAIRS]
    for name in (EVIDENCE, SECOND):
        if name in measures and (shown := [*transfer(measures[name])]):
            yield f"Transfer from {measures[name].source}", shown
    if FEW_SHOT in records:
        yield "Few shots", few_shot.tables(records[FEW_SHOT]["all_classes"])
    if SEEN_ALL in records:
        yield "Transductive", seen_all(records[SEEN_ALL][SEEN_ALL])
    if shown := [*ood(evidence)]:
        yield "OOD detection", shown
    if DEVELOPMENT in records:
        yield "Development", [*developed(records[DEVELOPMENT], measures[DEVELOPMENT])]
