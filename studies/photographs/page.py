"""The page of photographs, and the records that it was written from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fdbpl.reporting import few_shot
from fdbpl.system.files import canonical_json, write_whole
from studies.contrasts import OURS, contrasts, sentences, way_to_teacher
from studies.measures import Measures
from studies.page import how
from studies.photographs.confusions import mistakes
from studies.photographs.criteria import JUDGED, criteria, criteria_table
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
    seen_all,
)
from studies.records import (
    PHOTOGRAPHS_COMMAND,
    few_shot_measures,
    read_measures,
    read_over_all,
    transductive_measures,
)
from studies.tables import accuracies, by_dataset, folded, ood, transfer

EVIDENCE, DEVELOPMENT, SECOND, FEW_SHOT = "evidence", "development", "caltech", "few_shot"
SEEN_ALL = "transductive"
"""The names of runs. The second is of another source of a transfer."""

METHODS_PICTURE, FEW_SHOT_PICTURE = "photographs/methods.png", "photographs/few_shot.png"


def write_page(
    runs: Mapping[str, Run],
    about: str,
    docs: Path = Path("docs"),
    method: str = OURS,
) -> list[Path]:
    """Write photographs.md, photographs.json and the pictures shown; return their paths.

    Args:
        runs: "evidence", and what else was run of "development", "caltech", "few_shot" and
            "transductive".
        about: commit and machine.
        docs: the folder to write into.
        method: the one whose confusions are shown.

    Raises:
        UserError: a run was not compared, or with other parameters, or of what its classifiers
            and caches hold something is missing.
    """
    evidence = runs[EVIDENCE]
    records = {name: compared(run) for name, run in runs.items()}
    detected = read_over_all("ood", evidence.work, evidence.params)
    halved = {
        name: read_measures(run.work, run.params)
        for name, run in runs.items()
        if name not in (FEW_SHOT, SEEN_ALL)
    }
    wrong = {
        name: mistakes(evidence.params, evidence.work, name, method)
        for name in halved[EVIDENCE].datasets()
    }
    confused = confusions(wrong, method, len(evidence.params.seeds))
    text = page(runs, records, halved, confused, about)
    contents = {
        "photographs.md": text.encode(),
        "photographs.json": canonical_json(records | ({"ood": detected} if detected else {})),
        METHODS_PICTURE: methods_picture(halved[EVIDENCE]),
    }
    if FEW_SHOT in records:
        contents[FEW_SHOT_PICTURE] = few_shot_picture(records[FEW_SHOT]["all_classes"])
    for name, content in contents.items():
        write_whole(docs / name, content)
    return [docs / name for name in contents]


def page(
    runs: Mapping[str, Run],
    records: Mapping[str, Any],
    measures: Mapping[str, Measures],
    confused: Iterable[str],
    about: str,
) -> str:
    """Return photographs.md.

    Args:
        runs: by name, as `write_page` takes them.
        records: what their compare.json hold.
        measures: of base to new and of transfer, by run.
        confused: what is said of confusions.
        about: commit and machine.
    """
    parts = [
        "# Photographs",
        f"Written by `{PHOTOGRAPHS_COMMAND}` at {about}. No number here was typed by hand; "
        "[photographs.json](photographs.json) holds them all, and more digits.",
        "## In plain words, from evidence alone",
        *_summary(records, measures),
        "## What it is evidence of, and of what not",
        LIMITS,
        "## How it was measured",
        how(runs[EVIDENCE].params),
        datasets_table(runs),
        *_pair(records),
        "## The tables",
        *(folded(title, shown) for title, shown in _tables(records, measures)),
        "## What is taken for what",
        *confused,
    ]
    return "\n\n".join(parts) + "\n"


def _pair(records: Mapping[str, Any]) -> Iterator[str]:
    """Yield whether the pair is what was wanted of it, where all datasets and rivals were run."""
    listed = [records[name]["methods"] for name in (DEVELOPMENT, EVIDENCE) if name in records]
    if len(listed) == 2 and all(set(JUDGED) <= set(methods) for methods in listed):
        yield (
            "What was wanted of the pair, judged on all eleven datasets and by no method of ours; "
            "where a line does not hold, the pair is the nearest of those tried:"
        )
        yield criteria_table(criteria(listed))


def _summary(records: Mapping[str, Any], measures: Mapping[str, Measures]) -> Iterator[str]:
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
    records: Mapping[str, Any], measures: Mapping[str, Measures]
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
