"""All that a GPU has to show, in eight minutes: python -m bench.gpu

In this order: the tests of devices; steps of text, then of both towers; encoding; the cache's
reading, of features and of pixels; one whole tiny pipeline, beside a CPU's. Each part is a command
of its own, ends at the latest with the time, and is written into docs/performance.md as it ends.
Without a GPU the same runs at small shapes on the CPU, and goes into --page alone.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from bench import cache, encode, finding, pipeline, pixels, step
from fdbpl.cli.options import Command
from fdbpl.system.errors import UserError

MINUTES = 8.0


@dataclass(frozen=True)
class Part:
    """A command and what is shown of it.

    Attributes:
        title: of its part of the section.
        words: of `python -m`; "--json FILE" is added, where there is a `section`.
        section: from what it wrote to what is shown; None shows its last line.
    """

    title: str
    words: tuple[str, ...]
    section: Callable[[dict[str, Any]], str] | None = None


def parts(*, gpu: bool) -> list[Part]:
    """Return the parts in their order; without a GPU, at small shapes."""
    device = ("--device", "cuda" if gpu else "cpu")
    pair = ("--student", "ViT-B-16", "--teacher", "ViT-H-14", "--precision", "bf16")
    tiny = ("--student", "fdbpl-tiny-student", "--teacher", "fdbpl-tiny-teacher")
    small = ("--student", "ViT-S-32-alt", "--teacher", "fdbpl-tiny-teacher", "--batch", "2")
    towers = ("bench.step", "--towers", "both", *device)
    return [
        Part("Tests of devices", ("pytest", "-q", "tests/test_on_device.py")),
        Part(
            "A step of text",
            ("bench.step", *device, *(pair if gpu else tiny), "--classes", "100" if gpu else "3"),
            step.section,
        ),
        Part(
            "A step of both towers",
            (*towers, *(pair if gpu else small), "--classes", "100" if gpu else "3"),
            step.section,
        ),
        Part(
            "Encoding",
            (
                *("bench.encode", *device, "--crops", "10"),
                *("--models", "ViT-B-32,ViT-L-14" if gpu else "fdbpl-tiny-student"),
                *("--precisions", "bf16,fp16" if gpu else "fp32"),
                *("--batch", "256" if gpu else "8", "--images", "512" if gpu else "8"),
            ),
            encode.section,
        ),
        Part(
            "Reading cached features",
            (
                *("bench.cache", "--only", "fdbpl", "--rounds", "1"),
                *(() if gpu else ("--regions", "320", "--dim", "32", "--flips", "2")),
            ),
            cache.section,
        ),
        Part(
            "Reading cached pixels",
            ("bench.pixels", *(() if gpu else ("--images", "4", "--steps", "2", "--size", "32"))),
            pixels.section,
        ),
        Part(
            "A whole tiny pipeline",
            ("bench.pipeline", *device, "--epochs", "10" if gpu else "1"),
            pipeline.section,
        ),
    ]


def shown(part: Part, folder: Path, seconds: float) -> str:
    """Run a part for so many seconds at most; return what is shown of it, whatever came of it."""
    path = folder / f"{part.title.lower().replace(' ', '_')}.json"
    words = [*part.words, *(("--json", str(path)) if part.section else ())]
    try:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        done = None
    if part.section and path.exists():  # benchmarks save each row as it comes
        text = part.section(json.loads(path.read_text(encoding="utf-8")))
        return text if done and not done.returncode else f"{text}\n\nIt did not end."
    if done is None:
        return f"`python -m {' '.join(part.words)}` did not end in {seconds:.0f} s."
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return f"`python -m {' '.join(part.words)}`: {lines[-1] if lines else 'no word'}"


def run(
    listed: list[Part], folder: Path, minutes: float, write: Callable[[str], None]
) -> dict[str, str]:
    """Run the parts one after the other, and write all that was found as each ends."""
    end, found = time.monotonic() + 60 * minutes, dict[str, str]()
    for part in listed:
        left = end - time.monotonic()
        if left <= 0:
            break
        found[part.title] = shown(part, folder, left)
        write("".join(f"\n### {title}\n\n{text}\n" for title, text in found.items()) + "\n")
    return found


@click.command(cls=Command)
@click.option("--minutes", default=MINUTES, show_default=True, help="After which all ends.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".fdbpl/gpu"),
    show_default=True,
    help="Where each part's JSON goes.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help=f"Whose GPU section is written.  [default: {finding.PAGE}, where there is a GPU]",
)
def main(minutes: float, out: Path, page: Path | None) -> None:
    """Measure what a GPU has to show, within some minutes."""
    gpu = torch.cuda.is_available()
    if page is None and gpu:
        page = finding.PAGE
    if page is not None and "<!-- gpu:begin -->" not in page.read_text(encoding="utf-8"):
        raise UserError(f"{page}: no mark <!-- gpu:begin -->. Add it where the section shall be.")
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.json"):
        old.unlink()

    def write(text: str) -> None:
        if page is not None:
            finding.put("gpu", text, page)

    for title, text in run(parts(gpu=gpu), out.resolve(), minutes, write).items():
        click.echo(f"{title}\n\n{text}\n")


if __name__ == "__main__":
    main()
