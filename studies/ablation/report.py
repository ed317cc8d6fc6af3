"""An ablation as people read it: tables and a picture."""

import io
import itertools
from collections.abc import Sequence

from fdbpl.evaluation.statistics import Interval
from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import markdown, number
from studies.ablation.summary import BASELINE, SIDES, Row

MARKS = "os^DvP*X"


def results_table(rows: Sequence[Row]) -> str:
    """Return accuracies and differences as a Markdown table, `*` where the interval leaves 0."""
    averages = {"base": "base", "new": "new", "h": "H", "joint_h": "joint H"}
    gaps = {
        f"{kind}{name}": f"{kind.replace('_', ' ')}H - {other}"
        for name, other in (("difference", "reference"), ("over_baseline", title_of(BASELINE)))
        for kind in ("", "joint_")
    }
    lines: list[tuple[str, ...]] = [("setting", "method", *averages.values(), *gaps.values())]
    for row in rows:
        means = (number(row.averages.get(one)) for one in averages)
        differences = (spell_gap(row.gaps.get(name)) for name in gaps)
        lines.append((row.setting.name, title_of(row.method), *means, *differences))
    return markdown(lines)


def spell_gap(gap: Interval | None) -> str:
    """Return a difference and its interval, with a star where the interval leaves zero."""
    return "" if gap is None else f"{gap} *" if gap.sign else str(gap)


def gradients_table(rows: Sequence[Row]) -> str:
    """Return each term's gradient norms on the contexts as a Markdown table, a row a term."""
    lines: list[tuple[str, ...]] = [("setting", "method", "term", *SIDES, "inactive")]
    for row in rows:
        for term, norms in row.gradients.items():
            cells = (f"{norms[side]:.2g}" if side in norms else "" for side in SIDES)
            inactive = f"{row.inactive[term]:.0%}" if row.inactive[term] else ""
            lines.append((row.setting.name, title_of(row.method), term, *cells, inactive))
    return markdown(lines)


def plot(rows: Sequence[Row]) -> bytes:
    """Draw, as PNG, every setting's difference of H to the reference, a colour a method.

    Settings stand below one another, a line between the keys they change.
    """
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    varied = [row for row in rows if "difference" in row.gaps]
    names = list(dict.fromkeys(row.setting.name for row in varied))
    methods = {row.method: row.averages["h"] for row in rows if "difference" not in row.gaps}
    figure = Figure(figsize=(9, 1.6 + 0.3 * len(names)), layout="constrained", dpi=130)
    axes = figure.add_subplot()
    for index, (method, h) in enumerate(methods.items()):
        shift = (index - (len(methods) - 1) / 2) * 0.5 / len(methods)
        of_method = [row for row in varied if row.method == method]
        gaps = [row.gaps["difference"] for row in of_method]
        axes.errorbar(
            [gap.mean for gap in gaps],
            [names.index(row.setting.name) + shift for row in of_method],
            xerr=[[gap.mean - gap.low for gap in gaps], [gap.high - gap.mean for gap in gaps]],
            fmt=MARKS[index % len(MARKS)],
            color=f"C{index}",
            markersize=5,
            linewidth=1.2,
            capsize=2,
            label=f"{title_of(method)}: {h:.2f}",
        )
    keys = {row.setting.name: tuple(row.setting.changes) for row in varied}
    for place, (above, below) in enumerate(itertools.pairwise(names)):
        if keys[above] != keys[below]:
            axes.axhline(place + 0.5, color="0.85", linewidth=0.8, zorder=0)
    axes.axvline(0, color="0.4", linewidth=1, zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("difference of H to the reference, points; 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(
        title="H of the reference", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(methods)
    )
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
