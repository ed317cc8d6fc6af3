"""The part of the page about one dataset: what one method and seed made of its pictures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fdbpl.evaluation.confusion import Confusion
from fdbpl.html.classes import class_table
from fdbpl.html.curves import Curves, panels
from fdbpl.html.element import Html, element, joined
from fdbpl.html.matrix import matrix
from fdbpl.html.mistakes import MistakeCard, cards
from fdbpl.html.page import part
from fdbpl.html.regions import RegionCard, region_card
from fdbpl.html.table import table

REGIONS = (
    "Boxes are regions that were learned from; beside the picture, each as the models saw it: "
    "squeezed into a square, perhaps mirrored. w says how sure the teacher is of it, from 0 to 1, "
    "and the bars what teacher and student find likeliest among the classes learned."
)


@dataclass(frozen=True)
class DatasetReport:
    """What is shown of a dataset.

    Attributes:
        lines: what was learned, by what, and what competes.
        measured: by name, what was measured, in per cent.
        confusion: of the test pictures; None where nothing could be measured.
        new: labels of classes that nothing was learned of.
        mistakes: the surest.
        regions: some pictures with their regions.
        curves: of the loss.
        seed: whose curve stands out.
    """

    lines: Sequence[str]
    measured: Mapping[str, float] = field(default_factory=dict)
    confusion: Confusion | None = None
    new: Collection[int] = ()
    mistakes: Sequence[MistakeCard] = ()
    regions: Sequence[RegionCard] = ()
    curves: Curves = field(default_factory=dict)
    seed: int = 0


def dataset_part(report: DatasetReport) -> Html:
    """Return what is shown of a dataset; what there is nothing of is left out."""
    parts = [element("p", line) for line in report.lines]
    if report.measured:
        numbers = [f"{value:.2f}" for value in report.measured.values()]
        parts.append(table(["per cent", *report.measured], [["this seed", *numbers]]))
    if report.confusion is not None:
        parts += judged_parts(report.confusion, report.mistakes, report.new)
    if report.regions:
        shown = map(region_card, report.regions)
        parts.append(part("What teacher and student make of regions", REGIONS, *shown))
    if report.curves:
        others = len({seed for of in report.curves.values() for seed in of}) > 1
        line = "Means of each epoch." + (" Grey: the other seeds." if others else "")
        parts.append(part("Loss by epoch", line, panels(report.curves, report.seed)))
    return joined(*parts)


def judged_parts(
    confusion: Confusion, mistakes: Sequence[MistakeCard] = (), new: Collection[int] = ()
) -> list[Html]:
    """Return classes, confusion matrix and mistakes of some pictures."""
    parts = [
        part("Classes, the weakest first", class_table(confusion, new)),
        part("What is taken for what", matrix(confusion)),
    ]
    if mistakes:
        parts.append(mistakes_part(mistakes))
    return parts


def mistakes_part(mistakes: Sequence[MistakeCard], *lines: str) -> Html:
    """Return the surest mistakes, after lines about them."""
    about = "Left the picture, right a typical one of the class that it was taken for."
    return part("The surest mistakes", *lines, about, cards(mistakes))
