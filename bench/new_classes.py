"""What tells classes never seen: python -m bench.new_classes --json FILE [--work FOLDER]...

Each FOLDER holds the plans and caches of a finished run, such as that of `make demo` or of
`bench.further_world`. For every way of classifying the table shows its accuracy on new classes over
that of the generic prompt. No contexts take part. With --tried it shows what was tried instead of,
or beside, `fdbpl`'s bridge, for development datasets; without, how far a bridge could go that
learned from other images of the same classes, as no method may: what is missing is then not in the
student's features, but in what regions of other classes tell.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import finding
from bench.new_classes_ways import LIMITS, TRIED, WRITTEN, Both, Way

DEVELOPMENT = "icons,vehicles,dishes,scenes,landcover"
EVIDENCE = "objects,animals,flowers,aircraft,textures,figures"
BRIDGE = "the template, with `fdbpl`'s bridge"


def gains(
    ways: Mapping[str, Way], shown: Sequence[Both], every: Sequence[Both], seeds: Sequence[int]
) -> dict[str, list[float]]:
    """Return the points over the generic prompt, one for each dataset shown, by way.

    First the generic prompt's own accuracy; last, the standard error of the bridge's points over
    a dataset's images, each with its mean over the seeds.
    """
    generic = [one.right(one.images[0] @ one.generic.T) for one in shown]
    found = {"the generic prompt, %": [100 * float(right.mean()) for right in generic]}
    errors: list[float] = []
    for title, way in ways.items():
        found[title] = []
        for one, base in zip(shown, generic, strict=True):
            rights = [one.right(way(one, seed, every)) for seed in seeds]
            change = np.mean(rights, axis=0) - base
            found[title].append(100 * float(change.mean()))
            if title == BRIDGE:
                errors.append(100 * float(change.std() / np.sqrt(len(change))))
    return {**found, "standard error of the bridge's": errors}


@click.command()
@click.option("--work", multiple=True, default=["."], show_default=True)
@click.option("--tried", is_flag=True, help="What was tried, on development datasets.")
@click.option("--seeds", default="1,2,3", show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(work: tuple[str, ...], tried: bool, seeds: str, path: Path) -> None:
    """Measure each run's datasets."""
    names = (DEVELOPMENT if tried else EVIDENCE).split(",")
    ways = {**WRITTEN, **(TRIED if tried else LIMITS)}
    runs = {}
    for folder in work:
        every = {name: Both.open(folder, name) for name in f"{DEVELOPMENT},{EVIDENCE}".split(",")}
        shown, chosen = [every[name] for name in names], [int(seed) for seed in seeds.split(",")]
        runs[folder] = gains(ways, shown, list(every.values()), chosen)
    words = [f"--work {folder}" for folder in work] + ["--tried"] * tried
    finding.save(
        path, f"new_classes {' '.join(words)}", {"seeds": seeds}, datasets=names, runs=runs
    )


def section(found: dict[str, Any]) -> str:
    """Return the tables for docs/methods.md."""
    names = found["datasets"]
    heads = {"way": "", **{name: name for name in names}, "average": "average", "above": "above"}
    parts = [finding.source(found)]
    for folder, rows in found["runs"].items():
        spell: list[Callable[[float], str]] = [lambda x: f"{x:.1f}", lambda x: f"{x:+.1f}"]
        lines = []
        for title, values in rows.items():
            is_gain = title != next(iter(rows)) and not title.startswith("standard error")
            told = [spell[is_gain](value) for value in (*values, float(np.mean(values)))]
            above = f"{sum(value > 0 for value in values)} of {len(names)}" if is_gain else ""
            lines.append({"way": title, **dict(zip([*names, "average"], told, strict=True)),
                          "above": above})  # fmt: skip
        parts.append(f"In `{folder}`:\n\n{finding.rows(heads, lines)}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
