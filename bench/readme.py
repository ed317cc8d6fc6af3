"""Put into README.md what was measured: `python -m bench.readme`, after `make demo`.

With step=FILE end_to_end=FILE, what `bench.step` and `bench.end_to_end` wrote, the speeds too.
"""

import json
import sys
from pathlib import Path
from typing import Any

from bench import finding
from bench.blocks import replace_block
from bench.end_to_end import RUNS
from fdbpl.reporting.tables import averages_table

CROPS = (1, 10, 50)


def main(words: list[str]) -> None:
    page = Path("README.md")
    files = dict(word.partition("=")[::2] for word in words)
    replace_block(page, "demo", demo(_read(Path("metrics/compare.json"))))
    if files:
        steps, whole = (_read(Path(files[name])) for name in ("step", "end_to_end"))
        replace_block(page, "speed", speed(steps, whole))


def demo(comparison: dict[str, Any]) -> str:
    """Return the table of averages that the demo prints."""
    datasets = next(iter(comparison["methods"].values()))["datasets"]
    seeds = next(iter(datasets.values()))["seeds"]
    return (
        f"Its averages over {len(datasets)} drawn datasets and {len(seeds)} seeds, in per cent; a\n"
        "table of every dataset follows them, and `metrics/compare.png` is its plot:\n\n"
        f"{averages_table(comparison)}\n"
    )


def speed(steps: list[dict[str, Any]], whole: dict[str, Any]) -> str:
    """Return what a step costs three ways, and beside it what runs from nothing cost."""
    about = steps[0]["settings"]
    heads = {"classes": "classes", "a": "teacher and student online, s",
             "b": "teacher cached, s", "c": "fdbpl, s", "online_over_engine": "online / fdbpl",
             "teacher_cached_over_engine": "teacher cached / fdbpl"}  # fmt: skip
    ways = {"a": "online_ms", "b": "teacher_cached_ms", "c": "engine_ms"}
    rows = [{**row, **{key: row[ms] / 1000 for key, ms in ways.items()}} for row in steps]
    ends = {"classes": "classes", "crops": "crops an image", "first_ratio": "first run",
            "runs_ratio": f"{RUNS} runs on one cache",
            "all_ratio": "all methods x 3 seeds"}  # fmt: skip
    off = max(max(row["loss_rel"], row["grad_rel"]) for row in steps)
    most = max(row["classes"] for row in whole["units"] if row["classes"] <= 100)
    units = [row for row in whole["units"] if row["classes"] == most and row["crops"] in CROPS]
    return (
        f"A training step of {about['student']} taught by {about['teacher']}, batch "
        f"{about['batch']}, {about['threads']} CPU thread, loss and\ngradient equal to {off:.0e}:"
        "\n\n"
        f"{finding.rows(heads, rows)}\n\n"
        "A step is not a run: the cache has to be built first. Times less than online from nothing "
        "to\nlearned prompts, counted from measured units:\n\n"
        f"{finding.rows(ends, units)}\n"
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
