"""The engine's step under budgets of memory: python -m bench.budget --json budget.json

Beyond `train.memory_mb` the text engine takes the classes in parts, and the forward pass of all but
some of them twice. Models have their true shapes and random weights; each budget runs in a process
of its own, whose peak counts everything: Python, torch, the model, the features.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import click

from bench import finding
from bench.step import run_way
from bench.step_way import Settings

HEADS = {"memory_mb": "train.memory_mb", "parts": "parts", "ms": "a step, ms",
         "times": "times the first's", "peak_mb": "peak of the process, MiB",
         "share": "of a matrix product", "loss": "loss"}  # fmt: skip


@click.command()
@click.option("--student", default="ViT-B-32", show_default=True)
@click.option("--classes", default=1000, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--budgets", default="4096,1024,512", show_default=True, help="train.memory_mb.")
@click.option("--threads", default=1, show_default=True)
@click.option("--steps", default=3, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(budgets: str, path: Path, **options: Any) -> None:
    """Measure steps of both prompts under each budget."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        common = Settings(
            way="features", teacher=options["student"], device="cpu", precision="fp32",
            memory_mb=0, plain_mb=None, seed=0, folder=folder, **options,
        )  # fmt: skip
        run_way(common)
        for budget in [int(one) for one in budgets.split(",")]:
            found = run_way(replace(common, way="engine", memory_mb=budget))
            ms = median(found["ms"])
            rate = found["gflop"] / ms * 1000
            first = rows[0]["ms"] if rows else ms
            rows.append(
                {
                    "memory_mb": budget, "parts": found["parts"], "ms": ms, "times": ms / first,
                    "peak_mb": found["peak_mb"], "share": f"{rate / found['peak_gflops']:.0%}",
                    "loss": f"{found['loss']:.6f}",
                }
            )  # fmt: skip
            click.echo(rows[-1], err=True)
    finding.save(path, "budget", {**options, "budgets": budgets}, rows=rows)


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    return f"{finding.source(found)}\n\n{finding.rows(HEADS, found['rows'])}"


if __name__ == "__main__":
    main()
