"""The pictures of the page of photographs, and of the small models' card."""

import io
from collections.abc import Mapping
from statistics import mean
from typing import Any

from fdbpl.evaluation.statistics import COVERAGE
from fdbpl.methods.registry import METHODS, title_of
from fdbpl.reporting import few_shot, section
from fdbpl.reporting.section import Section
from fdbpl.reporting.tables import number
from studies.contrasts import OURS, TEMPLATE
from studies.measures import Measures

PANELS = ("base", "new", "H", "joint H")


def methods_picture(measures: Measures) -> bytes:
    """Draw, as PNG, how far every method is from the template, with intervals over datasets."""
    height = 1.3 + 0.27 * len(measures.methods())
    return _png(Section("methods", None, [], height, lambda figure: _differences(measures, figure)))


def few_shot_picture(summary: Any) -> bytes:
    """Draw, as PNG, what `few_shot.summarise` says."""
    height = few_shot.height(summary)
    return _png(
        Section("all_classes", None, [], height, lambda figure: few_shot.plot(summary, figure))
    )


def accuracies_picture(found: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw, as PNG, zero-shot accuracies by dataset and their averages.

    Args:
        found: by dataset the accuracy of "student", "teacher" and "chance", in per cent.
    """
    return _png(Section("zero_shot", None, [], 4.0, lambda figure: _accuracies(found, figure)))


def _png(drawn: Section) -> bytes:
    picture = io.BytesIO()
    section.plot([drawn], picture)
    return picture.getvalue()


def _differences(measures: Measures, figure: Any) -> None:
    """Draw a panel a measure, a row a method, its average at the right."""
    methods = measures.methods()
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, measure in zip(panels, PANELS, strict=True):
        for place, method in enumerate(methods):
            gap = measures.difference((measure, method), (measure, TEMPLATE))
            if gap is None or (measure == "joint H" and not _competes(method)):
                continue
            colour = "C1" if method == OURS else "C0"
            ends = [[gap.mean - gap.low], [gap.high - gap.mean]]
            axes.errorbar(gap.mean, place, xerr=ends, fmt="o", color=colour, markersize=4)
            level = number(measures.mean(measure, method))
            axes.annotate(
                level,
                (1, place),
                (3, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color="0.35",
            )
        axes.axvline(0, color="0.5", linewidth=1, zorder=0)
        axes.set_title(measure, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(methods)), [title_of(method) for method in methods], fontsize=8)
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    figure.supxlabel(
        f"points above {title_of(TEMPLATE)}, with {COVERAGE} % t-intervals over datasets; "
        "right of each panel the averages, %",
        fontsize=9,
    )


def _accuracies(found: Mapping[str, Mapping[str, float]], figure: Any) -> None:
    """Draw a bar for each model and dataset, a line across both for chance."""
    keys, width = ("student", "teacher", "chance"), 0.38
    average = {key: mean(one[key] for one in found.values()) for key in keys}
    columns = {**found, "average": average}
    axes = figure.subplots()
    for index, role in enumerate(keys[:2]):
        at = [place + (index - 0.5) * width for place in range(len(columns))]
        bars = axes.bar(at, [one[role] for one in columns.values()], width, label=role)
        axes.bar_label(bars, fmt="%.0f", fontsize=7, color="0.35", padding=1)
    for place, one in enumerate(columns.values()):
        label = None if place else "chance"
        axes.plot([place - width, place + width], [one["chance"]] * 2, color="black", label=label)
    axes.axvline(len(found) - 0.5, color="0.6", linewidth=1)
    names = [name.replace("_", "\n") for name in columns]
    axes.set_xticks(range(len(columns)), names, fontsize=8)
    axes.set_ylabel("zero-shot accuracy, %", fontsize=9)
    axes.set_ylim(0, 105)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)


def _competes(method: str) -> bool:
    """Tell whether joint figures are of one classifier: of two side by side nothing is claimed."""
    return method != "gda_teacher" and (method not in METHODS or METHODS[method].transfers)
