"""What the page of photographs shows beside what any page of results does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from fdbpl.methods.registry import METHODS, title_of
from fdbpl.protocols.transductive import TRANSDUCTIVE
from fdbpl.reporting import few_shot, tables
from fdbpl.reporting.protocols import SEEN
from fdbpl.reporting.tables import markdown
from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from fdbpl.system.workspace import Workspace
from studies.contrasts import BARE, OURS, TEMPLATE, WHOLE, Contrast, sentences
from studies.measures import Measures
from studies.photographs.confusions import MOST, Mistakes
from studies.photographs.criteria import criteria, criteria_table
from studies.tables import accuracies, by_dataset, folded

TOWERS = {"efficientnet": "EfficientNet", "vit": "ViT"}
RIVALS = ("kdpl", "coop", TEMPLATE, BARE)
PAIRS = (("H", "joint H"), ("base", "new"), ("joint base", "joint new"))

LIMITS = """\
- The pictures of tiny_imagenet were in the training part of ImageNet, on which the image towers of
  both models were trained: the towers have seen them. All methods share that, but what is reached
  there is no evidence of new knowledge.
- Pictures are small: 64 pixels on the short side at most.
- The student's text tower was told class names rarely and noisily, in development and evidence
  datasets alike.
- Nothing here is compared with published tables of CLIP: models and pictures are others.
- Intervals are over datasets, which are few. Shifted versions are of one dataset each: an interval
  over them says how far shifts differ, not how far datasets do."""


@dataclass(frozen=True)
class Run:
    """A workspace that was compared, and the parameters it was made with."""

    params: Params
    work: Workspace


def few_shot_contrasts(measures: Measures) -> Iterator[Contrast]:
    """Yield what is said of all classes learned, by shots."""
    for rival in RIVALS:
        about = f"{title_of(OURS)} against {title_of(rival)}"
        names = {f"at {one}": one for one in measures.found}
        yield Contrast(about, {name: ((one, OURS), (one, rival)) for name, one in names.items()})


def seen_all(methods: Mapping[str, Any]) -> list[str]:
    """Return the tables of the transductive protocol."""
    comparison = {"methods": methods}
    names = list(next(iter(methods.values()))["datasets"])
    return [
        SEEN,
        tables.averages_table(comparison, names),
        tables.datasets_table(comparison, names),
        tables.joint_table(comparison),
    ]


def datasets_table(runs: Mapping[str, Run]) -> str:
    """Return classes, test pictures and seeds of every dataset, by the first run that has it."""
    rows: dict[str, tuple[str, ...]] = {}
    for purpose, run in runs.items():
        for name in run.params.datasets:
            protocols = read_record(run.params, name, run.work).protocols
            first = next(iter(next(iter(protocols.values())).values()))
            counts = (sum(one.values()) for one in (first.classes, first.test_images))
            told = "shifted" if name in run.params.shifted else purpose
            seeds = ", ".join(map(str, run.params.seeds))
            rows.setdefault(name, (name, told, *(f"{count:,}" for count in counts), seeds))
    return markdown([("dataset", "for", "classes", "test pictures", "seeds"), *rows.values()])


def developed(record: Any, measures: Measures) -> Iterator[str]:
    """Yield the tables of datasets on which choices were made."""
    yield f"Choices were made on {', '.join(measures.datasets())}: this is no evidence."
    yield accuracies(measures)
    yield from (by_dataset(measures, pair) for pair in PAIRS)
    if "all_classes" in record:
        yield from few_shot.tables(record["all_classes"])


def confusions(wrong: Mapping[str, Mistakes], method: str, seeds: int) -> Iterator[str]:
    """Yield the most frequent confusions of every dataset."""
    yield (
        f"Of {title_of(method)}, learned on base classes, where the classes of both halves "
        f"compete. Counted are test pictures times {seeds} seeds; of each dataset the {MOST} most "
        "frequent:"
    )
    yield "\n".join(
        f"- **{name}**, {found.wrong:,} of {found.of:,} wrong: "
        f"{'; '.join(map(str, found.confusions[:MOST])) or 'nothing'}."
        for name, found in wrong.items()
    )


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


def both_towers_contrasts(measures: Measures) -> Iterator[Contrast]:
    """Yield what is said of methods that prompt both towers, against text prompts and none."""
    prompted = [one for one in measures.methods() if METHODS[one].sees == "prompted"]
    for method, rival in product(prompted, (TEMPLATE, "coop", "kdpl", BARE)):
        pairs = {f"in {one}": ((one, method), (one, rival)) for one in WHOLE}
        yield Contrast(f"{title_of(method)} against {title_of(rival)}", pairs)


def both_towers(record: Any, measures: Measures) -> Iterator[str]:
    """Yield what methods that prompt both towers reach, beside text prompts of the same student."""
    yield accuracies(measures)
    yield sentences(both_towers_contrasts(measures), measures)
    shown = [by_dataset(measures, pair) for pair in PAIRS]
    yield folded("By dataset", shown)
    yield folded("Transductive", seen_all(record[TRANSDUCTIVE.name]))


def _joint(cell: Mapping[str, Any]) -> float:
    """Return the mean of both halves' accuracies where all classes compete."""
    return fmean(cell["joint"][half] for half in ("base", "new"))
