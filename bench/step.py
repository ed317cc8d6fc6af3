"""One training step three ways: python -m bench.step --json steps.json

(a) online: teacher and student at every step, one prompt of 77 tokens, as KDPL trains;
(b) teacher cached: the student's image tower at every step, both prompts of 77 tokens, as FDBPL
    is published;
(c) engine: cached features of both, both prompts, the shared-prefix text engine.

Models have their true shapes and random weights. Each way runs in a process of its own, so that
peak memory is its own. Losses and gradients of the first step are compared like with like: (b)
with (c) on FDBPL's objective, (a) with the engine on KDPL's.

With --towers both, tokens are learned in both towers: see bench.step_vision.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from bench import finding, step_vision
from bench.step_way import Settings, measure

WAYS = ("online", "teacher_cached", "engine")
MANY = 1000  # classes from which two steps must do


def run_way(settings: Settings) -> dict[str, Any]:
    """Measure one way in a fresh process."""
    work = step_vision.measure if settings.towers == "both" else measure
    return finding.in_process(work, settings, threads=settings.threads)


def difference(folder: Path, found: str, wanted: str) -> float:
    """Relative difference of gradients, of what is learned the worst; both contexts are one."""
    pairs = zip(*(torch.load(folder / f"{name}.pt") for name in (found, wanted)), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def row(settings: Settings) -> dict[str, Any]:
    """Measure all ways at one number of classes."""
    if settings.towers == "both":
        return step_vision.row(settings, run_way, difference)
    folder = Path(settings.folder)
    found = {way: run_way(replace(settings, way=way)) for way in WAYS}
    ms = {way: median(found[way]["ms"]) for way in WAYS}
    online, cached, engine = (found[way] for way in WAYS)
    loss_online = abs(engine["loss_as_online"] - online["loss"]) / abs(online["loss"])
    loss_cached = abs(engine["loss"] - cached["loss"]) / abs(cached["loss"])
    grad_online = difference(folder, "engine_as_online", "online")
    grad_cached = difference(folder, "engine", "teacher_cached")
    rate = engine["gflop"] / ms["engine"] * 1000
    return {
        "classes": settings.classes,
        **{f"{way}_ms": ms[way] for way in WAYS},
        "online_over_engine": ms["online"] / ms["engine"],
        "teacher_cached_over_engine": ms["teacher_cached"] / ms["engine"],
        "loss_rel": max(loss_online, loss_cached),
        "grad_rel": max(grad_online, grad_cached),
        "peak_mb": {way: found[way]["peak_mb"] for way in WAYS},
        "parts": {way: found[way]["parts"] for way in WAYS},
        "engine_gflop": engine["gflop"],
        "product_gflops": engine["peak_gflops"],
        "share_of_peak": rate / engine["peak_gflops"],
    }


@click.command()
@click.option("--towers", type=click.Choice(["text", "both"]), default="text", show_default=True)
@click.option("--student", default="ViT-B-32", show_default=True)
@click.option("--teacher", default="ViT-L-14", show_default=True)
@click.option("--classes", default="10,24,100,500,1000", show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--steps", type=int, help="Of each way; 5, or 2 from 1000 classes on.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32")
@click.option("--memory-mb", default=4096, show_default=True, help="The engine's train.memory_mb.")
@click.option("--plain-mb", type=int, help="For the plain text ways; else 4/5 of what is free.")
@click.option("--seed", default=0, show_default=True, help="Of weights and pixels.")
@click.option("--late", default="3", show_default=True, help="Last layers with tokens in (d).")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(classes: str, steps: int | None, path: Path, **options: Any) -> None:
    """Measure a step of each way at each number of classes; results stay as they come."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        common = Settings(way="features", classes=0, steps=0, folder=folder, **options)
        run_way(common)
        for count in [int(one) for one in classes.split(",")]:
            wanted = steps or (2 if count >= MANY else 5)
            rows.append(row(replace(common, classes=count, steps=wanted)))
            asked = {**options, "classes": classes, "steps": steps}
            found = finding.save(path, "step", asked, rows=rows)
    click.echo(section(found))


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    if found["options"].get("towers") == "both":
        return step_vision.section(found)
    heads = {"classes": "classes", "online_ms": "(a) online, ms",
             "teacher_cached_ms": "(b) teacher cached, ms", "engine_ms": "(c) engine, ms",
             "online_over_engine": "a/c", "teacher_cached_over_engine": "b/c",
             "loss_rel": "loss off by", "grad_rel": "gradient off by",
             "gflop": "GFLOP, (c)", "peak": "(c) of a matrix product",
             "memory": "peak MiB, a / b / c"}  # fmt: skip
    lines = [
        {
            **row,
            "gflop": row["engine_gflop"],
            "peak": f"{row['share_of_peak']:.0%}",
            "memory": " / ".join(f"{row['peak_mb'][way]:,.0f}" for way in WAYS),
        }
        for row in found["rows"]
    ]
    chunked = [
        f"{row['classes']} classes: {way.replace('_', ' ')} in {row['parts'][way]} parts"
        for row in found["rows"]
        for way in WAYS
        if row["parts"][way] > 1
    ]
    limit = max(row["product_gflops"] for row in found["rows"])
    notes = (
        f"{finding.source(found)}\nThe limit, a matrix product's GFLOP/s: {limit:,.0f}. Did not "
        f"fit and ran in parts: {'; '.join(chunked) or 'none'}."
    )
    return f"{notes}\n\n{finding.rows(heads, lines)}"


if __name__ == "__main__":
    main()
