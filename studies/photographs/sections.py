"""What the page of photographs shows beside what any page of results does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fdbpl.methods.registry import title_of
from fdbpl.reporting import few_shot, tables
from fdbpl.reporting.protocols import SEEN
from fdbpl.reporting.tables import markdown
from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from studies.contrasts import BARE, OURS, TEMPLATE, Contrast
from studies.measures import Measures
from studies.photographs.confusions import MOST, Confusion
from studies.photographs.kept import Records
from studies.records import read_over_all
from studies.tables import accuracies, by_dataset

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


def compared(run: Run) -> Any:
    """Return what a run's compare.json holds.

    Raises:
        UserError: it was not compared, or with other parameters.
    """
    record = read_over_all("compare", run.work, run.params)
    if record is None:
        path, command = run.work.comparison("json"), run.work.command("compare")
        raise UserError(f"{path}: nothing was compared. Run {command} first.")
    return record


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


def pictures_of(run: Run) -> dict[str, dict[str, Any]]:
    """Return classes, test pictures and seeds of every dataset of a run."""
    found = {}
    for name in run.params.datasets:
        protocols = read_record(run.params, name, run.work).protocols
        first = next(iter(next(iter(protocols.values())).values()))
        found[name] = {
            "classes": sum(first.classes.values()),
            "test pictures": sum(first.test_images.values()),
            "shifted": name in run.params.shifted,
            "seeds": run.params.seeds,
        }
    return found


def datasets_table(records: Records) -> str:
    """Return what `pictures_of` every dataset, by the first run that has it."""
    rows: dict[str, tuple[str, ...]] = {}
    for purpose, record in records.items():
        for name, one in record.get("pictures", {}).items():
            told = "shifted" if one["shifted"] else purpose
            counts = (f"{one[key]:,}" for key in ("classes", "test pictures"))
            rows.setdefault(name, (name, told, *counts, ", ".join(map(str, one["seeds"]))))
    return markdown([("dataset", "for", "classes", "test pictures", "seeds"), *rows.values()])


def developed(record: Any, measures: Measures) -> Iterator[str]:
    """Yield the tables of datasets on which choices were made."""
    yield f"Choices were made on {', '.join(measures.datasets())}: this is no evidence."
    yield accuracies(measures)
    yield from (by_dataset(measures, pair) for pair in PAIRS)
    if "all_classes" in record:
        yield from few_shot.tables(record["all_classes"])


def confusions(wrong: Mapping[str, Any], method: str, seeds: int) -> Iterator[str]:
    """Yield the most frequent confusions of every dataset.

    Args:
        wrong: by dataset the values of `Mistakes`.
        method: whose they are.
        seeds: how many.
    """
    yield (
        f"Of {title_of(method)}, learned on base classes, where the classes of both halves "
        f"compete. Counted are test pictures times {seeds} seeds; of each dataset the {MOST} most "
        "frequent:"
    )
    yield "\n".join(
        f"- **{name}**, {found['wrong']:,} of {found['of']:,} wrong: "
        f"{'; '.join(str(Confusion(**one)) for one in found['confusions']) or 'nothing'}."
        for name, found in wrong.items()
    )
