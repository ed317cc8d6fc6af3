"""The page of prompts in both towers: what methods reach, and the student that takes prompts."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from fdbpl.methods.registry import METHODS, title_of
from fdbpl.reporting import few_shot
from fdbpl.reporting.tables import markdown
from fdbpl.system.files import write_whole
from studies.contrasts import (
    BARE,
    EACH,
    OURS,
    TEMPLATE,
    TRANSFER,
    WHOLE,
    Contrast,
    sentences,
)
from studies.measures import Measures
from studies.photographs.criteria import criteria, criteria_table
from studies.photographs.explained import BRIDGES, bridges, explained
from studies.photographs.kept import keep, renewed
from studies.photographs.late import LATE
from studies.photographs.sections import PAIRS, Run, compared, developed, seen_all
from studies.records import (
    PHOTOGRAPHS_COMMAND,
    compared_measures,
    few_shot_measures,
    transductive_measures,
)
from studies.tables import accuracies, by_dataset, folded, transfer

EVIDENCE, EVERY_CLASS, LAYERS = "both_towers", "both_towers_every_class", "late"
"""The names of runs; that of layers is on development sets."""

LIMITS = """\
- The student's text tower was told the name of every class on pretrain pictures: prompts may find
  little that it does not know. The one that was told rarely knows too little with this image tower.
- Its image tower is small, and was trained to have another one's features, not on captions.
- PromptKD is made for unlabelled pictures of all classes, and starts from a random projector; here
  it learns from few pictures of the base classes.
- What is said on [photographs](photographs.md) of pictures and intervals holds here, too."""

TOWERS = {"efficientnet": "EfficientNet", "vit": "ViT"}


def write_both_towers(
    runs: Mapping[str, Run],
    students: Mapping[str, Any] | None,
    about: str,
    docs: Path = Path("docs"),
) -> list[Path]:
    """Write both_towers.md and both_towers.json; return their paths.

    What was not run here stays as both_towers.json has it, with where it was measured.

    Args:
        runs: by these names, any of them.
        students: what `studies.photographs.vit_measures.measures` returned, if it was measured.
        about: commit and machine.
        docs: the folder to write into.

    Raises:
        UserError: a run was not compared, or with other parameters.
    """
    path = docs / "both_towers.json"
    measured = {name: compared(run) | _of_bridge(name, run) for name, run in runs.items()}
    found = renewed(path, measured | ({"students": students} if students else {}), about)
    keep(path, found)
    text = "\n\n".join(page(found)) + "\n"
    write_whole(path.with_suffix(".md"), text.encode())
    return [path.with_suffix(".md"), path]


def _of_bridge(name: str, run: Run) -> dict[str, Any]:
    """Return what the bridge of a run of `BRIDGES` explains, by dataset."""
    if name not in BRIDGES.values():
        return {}
    params, work = run.params, run.work
    return {"explained": {one: explained(params, work, one, BARE) for one in params.datasets}}


def page(records: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paragraphs of both_towers.md, from what both_towers.json holds."""
    yield "# Prompts in both towers"
    yield (
        f"Written by `{PHOTOGRAPHS_COMMAND}`. No number here was typed by hand; "
        "[both_towers.json](both_towers.json) holds them all, and more digits."
    )
    sections = {
        EVIDENCE: evidence,
        EVERY_CLASS: every_class,
        LAYERS: layers,
        BRIDGES["ViT"]: lambda _: bridges(records),
        "students": prompted_students,
    }
    for name, section in sections.items():
        if name in records:
            title, *rest = section(records[name])
            yield title
            yield f"Measured at {records[name]['measured']}."
            yield from rest


def prompted_contrasts(measures: Measures, said: Mapping[str, str]) -> Iterator[Contrast]:
    """Yield what is said of methods that prompt both towers, against text prompts and none.

    And what the bridge does for this student.

    Args:
        measures: of what was measured.
        said: measures by what a sentence calls them.
    """
    known = {method for methods in measures.found.values() for method in methods}
    prompted = [one for one in METHODS if one in known and METHODS[one].sees == "prompted"]
    listed = product(prompted, (TEMPLATE, "coop", "kdpl", BARE))
    for method, rival in (*listed, (BARE, TEMPLATE), (OURS, TEMPLATE)):
        pairs = {words: ((one, method), (one, rival)) for words, one in said.items()}
        yield Contrast(f"{title_of(method)} against {title_of(rival)}", pairs)


def evidence(record: Any) -> Iterator[str]:
    """Yield what methods that prompt both towers reach, beside text prompts of the same student."""
    measures = compared_measures(record)
    yield "## In plain words, from evidence alone"
    yield (
        f"{len(measures.datasets())} datasets of [photographs](photographs.md): "
        f"{', '.join(measures.datasets())}. The student is the one with a Vision Transformer whose "
        "text tower was told well. It knows less than that page's, so figures of the two pages are "
        "not compared."
    )
    yield accuracies(measures)
    yield sentences(prompted_contrasts(measures, _inside(WHOLE)), measures)
    yield "What it is evidence of, and of what not:"
    yield LIMITS
    yield folded("By dataset", [by_dataset(measures, pair) for pair in PAIRS])


def every_class(record: Any) -> Iterator[str]:
    """Yield what the same methods reach where every class is learned, by protocol."""
    yield "## Every class learned"
    yield (
        "The same datasets, methods and student, by the protocols that learn every class of a "
        "dataset: tested on itself, by shots; carried to all other datasets and to the source's "
        "own shifted versions (transfer); or learned without labels and tested by halves "
        "(transductive), for which PromptKD is made. Methods that read labels are not in the last. "
        "Transfer and transductive learn from the most shots."
    )
    shots = few_shot_measures(record)
    yield "**All classes, tested on the same dataset:**"
    yield sentences(prompted_contrasts(shots, {f"at {one}": one for one in shots.found}), shots)
    carried = compared_measures(record)
    yield f"**Transfer from {carried.source}:**"
    yield sentences(prompted_contrasts(carried, _inside(TRANSFER)), carried)
    seen = transductive_measures(record["transductive"])
    yield "**Transductive:**"
    yield accuracies(seen)
    yield sentences(prompted_contrasts(seen, _inside(WHOLE)), seen)
    yield folded("All classes, by dataset", few_shot.tables(record["all_classes"]))
    yield folded("Transfer, by target", [*transfer(carried)])
    yield folded("Transductive, by dataset", seen_all(record["transductive"]))


def _inside(measures: Sequence[str]) -> dict[str, str]:
    return {f"in {one}": one for one in measures}


def layer_contrasts() -> Iterator[Contrast]:
    """Yield what is said of tokens at other layers."""
    for one in LATE:
        pairs = {f"in {name}": ((name, one.__name__), (name, "promptsrc")) for name in EACH}
        yield Contrast(f"{one.__name__} against {title_of('promptsrc')}", pairs)


def layers(record: Any) -> Iterator[str]:
    """Yield what tokens at other layers of the image tower give."""
    measures = compared_measures(record)
    yield "## At which layers"
    yield (
        "PromptSRC has tokens at the first three quarters of the image tower's layers: nine of "
        "twelve in the released code, four of six here. Tokens that enter later leave all layers "
        "before unchanged, so that a step begins at cached activations; what that saves is in "
        "[performance](performance.md#both-towers)."
    )
    yield sentences(layer_contrasts(), measures)
    yield folded("Layers by dataset", [*developed(record, measures)])


def prompted_students(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what students are that take prompts in both towers, and what they know by names.

    Args:
        found: what `studies.photographs.vit_measures.measures` returned.
    """
    tower, students, teacher = found["tower"], found["students"], found["teacher"]
    yield "## Students that take prompts in both towers"
    yield (
        "An EfficientNet takes no prompt tokens. For methods that prompt the image tower, too, "
        f"there is a Vision Transformer ({tower['image_size']} pixels, patches of "
        f"{tower['patch_size']}, {tower['layers']} layers of width {tower['width']}), trained on "
        "views of pretrain pictures to have the EfficientNet's features; its text tower is the "
        "pair's student's, told names rarely, or the small student's, told well. Zero-shot "
        "accuracy over all classes of the test pictures, and the mean cosine of both towers' "
        "features of them:"
    )
    columns = [(told, one) for told in students for one in ("efficientnet", "vit")]
    heads = [f"{told}, {TOWERS[one]}" for told, one in columns]
    cosines = [f"{told}, cosine" for told in students]
    rows = [
        (
            name,
            *(f"{_joint(students[told][one][name]):.1f}" for told, one in columns),
            f"{_joint(cell):.1f}",
            *(f"{students[told]['cosine'][name]:.2f}" for told in students),
        )
        for name, cell in teacher.items()
    ]
    yield markdown([("dataset", *heads, "teacher", *cosines), *rows])
    for told, student in students.items():
        yield f"What was wanted of the pair, with the ViT and the text tower {told}:"
        methods = {"zero_shot": {"datasets": student["vit"]}, "teacher": {"datasets": teacher}}
        yield criteria_table(criteria([methods]))


def _joint(cell: Mapping[str, Any]) -> float:
    """Return the mean of both halves' accuracies where all classes compete."""
    return fmean(cell["joint"][half] for half in ("base", "new"))
