"""The picture that README opens with: the pipeline, and what methods reach."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from fdbpl.evaluation.accuracy import over_datasets
from fdbpl.methods.registry import title_of

STAGES = (
    ("prepare-crops", "images, shots,\nrandom regions", "no model"),
    ("cache-teacher", "both models' features\nof every region", "each region once, ever"),
    ("train-student", "contexts, or whatever\na method learns", "no image tower runs"),
    ("evaluate", "base, new, all classes,\nother domains", "one matrix product"),
    ("compare", "tables, plots,\nMLflow", "all datasets"),
)
SHOWN = (
    *("zero_shot", "coop", "kgcoop", "kdpl", "released", "paper"),
    *("fdbpl_prompts", "template_bridge", "fdbpl", "teacher"),
)
INK, SOFT, APART, JOINT, BOX = "#1f2933", "#7b8794", "#4c78a8", "#f2a65a", "#eef2f7"


def overview(comparison: Mapping[str, Any], datasets: Sequence[str]) -> Figure:
    """Return the picture: stages above, H of each method averaged over datasets below."""
    figure = Figure(figsize=(10, 5.8), dpi=110)
    _draw_stages(figure.add_axes((0.01, 0.72, 0.98, 0.27)))
    _draw_methods(figure.add_axes((0.24, 0.1, 0.73, 0.53)), comparison["methods"], datasets)
    return figure


def _draw_stages(axes: Axes) -> None:
    axes.set(xlim=(0, 10 * len(STAGES)), ylim=(0, 10))
    axes.axis("off")
    for place, (name, makes, cost) in enumerate(STAGES):
        left, middle = 10 * place + 0.3, 10 * place + 4.6
        box = FancyBboxPatch((left, 0.8), 8.6, 8.4, boxstyle="round,pad=0,rounding_size=0.6")
        box.set(facecolor=BOX, edgecolor=SOFT)
        axes.add_patch(box)
        about: dict[str, Any] = {"ha": "center", "va": "center"}
        axes.text(middle, 7.7, name, weight="bold", color=INK, **about)
        axes.text(middle, 5, makes, fontsize=9, color=INK, **about)
        axes.text(middle, 2.2, cost, fontsize=8, style="italic", color=SOFT, **about)
        if place + 1 < len(STAGES):
            arrow = {"arrowstyle": "-|>", "color": SOFT}
            axes.annotate("", (left + 10, 5), (left + 8.6, 5), arrowprops=arrow)


def _draw_methods(axes: Axes, methods: Mapping[str, Any], datasets: Sequence[str]) -> None:
    shown = [name for name in SHOWN if name in methods]
    cells = [over_datasets({one: methods[m]["datasets"][one] for one in datasets}) for m in shown]
    apart, joint = [one["h"] for one in cells], [one["joint"]["h"] for one in cells]
    rows = list(range(len(shown)))
    axes.hlines(rows, joint, apart, color=SOFT, linewidth=1.2, zorder=1)
    for values, colour, label, shift, side in (
        (joint, JOINT, "all classes compete", -0.5, "right"),
        (apart, APART, "base and new each by itself", 0.5, "left"),
    ):
        axes.scatter(values, rows, color=colour, label=label, zorder=2)
        for row, value in zip(rows, values, strict=True):
            axes.text(value + shift, row, f"{value:.1f}", ha=side, va="center", fontsize=8)
    axes.set_yticks(rows, [title_of(name) for name in shown])
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_xlabel(
        f"H of base and new accuracy, per cent: {len(datasets)} drawn datasets on which no choice "
        "was made"
    )
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
