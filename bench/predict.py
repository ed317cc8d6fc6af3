"""Pictures a second by `fdbpl predict`, and by its parts: python -m bench.predict --json FILE

The model is made here, of the packaged small student and a zero-shot classifier; pictures are JPEG
files of noise with a photograph's spectrum. "Encoder alone" is the image tower on tensors that lie
ready, by as many threads as there are cores, each a batch of its own, as predictions use it; "by
torch" the same tower in torch, the field's plain way; "decoder alone" reads, decodes, resizes and
normalises. All share the same cores, so that the whole cannot reach the slower of two parts that
both need them: "limit" is 1 / (1 / encoder + 1 / decoder), what no order of the work can surpass.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch

from bench import finding
from bench.encode import photograph
from fdbpl.classify.artifact import classifier_of
from fdbpl.classify.decision import Decision
from fdbpl.clip import small
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from fdbpl.clip.vectors import template_vectors
from fdbpl.data.images import decode
from fdbpl.evaluation.calibration import KEPT, Calibration
from fdbpl.methods.registry import METHODS
from fdbpl.serving.make import Made, save_model
from fdbpl.serving.predictor import Predictor, load_predictor
from fdbpl.serving.stream import AT_ONCE, answers
from fdbpl.system.ahead import ahead

NAMES = ("forest", "street", "kitchen", "beach", "mountain", "office", "highway", "bedroom")
REPEATS = 3


def made() -> Made:
    """Return the small student's zero-shot classifier of a few scenes, as a model."""
    clip = load_model(ModelParams(architecture=small.PAIR[0], weights="small"), "student")
    template = "a photo of a {}."
    decision = Decision(template_vectors(clip, NAMES, template), clip.logit_scale)
    about = {
        "method": "zero_shot",
        "options": {},
        "student": dict(clip.identity),
        "class_names": list(NAMES),
        "learned_classes": [],
        "template": template,
    }
    return Made(
        name="scenes",
        method=METHODS["zero_shot"],
        clip=clip,
        teacher={"architecture": small.PAIR[1], "weights": "small"},
        classifier=classifier_of(decision, about),
        decision=decision,
        prompts=None,
        calibration=Calibration(1.0, dict.fromkeys(KEPT, 0.0)),
        made={},
        measured={},
    )


def pictures(folder: Path, count: int, size: int) -> list[str]:
    """Write so many pictures, the longer side of `size` pixels; return their paths."""
    paths = []
    for number in range(count):
        picture = photograph(number % 16)
        picture.thumbnail((size, size))
        path = folder / f"{number:06d}.jpg"
        picture.save(path, quality=90)
        paths.append(str(path))
    return paths


def rate(work: Callable[[], int]) -> float:
    """Return how many a second, the median of some runs, once warm."""
    work()
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        found.append(work() / (time.perf_counter() - start))
    return median(found)


def rows_of(model: Path, clip: Any, paths: list[str], threads: int) -> Iterator[tuple[str, float]]:
    """Measure the parts, and the whole."""
    predictor = load_predictor(model, threads=1)
    ready = np.stack([predictor.pixels(decode(Path(path))) for path in paths[:AT_ONCE]])
    groups = max(1, len(paths) // AT_ONCE)
    yield "decoder", rate(lambda: sum(ahead(partial(_pixels, predictor), paths, threads)))
    yield (
        "encoder",
        rate(lambda: sum(ahead(lambda _: len(predictor.tower(ready)), range(groups), threads))),
    )
    yield "torch", rate(partial(_by_torch, clip, ready, groups))
    yield "whole", rate(lambda: sum(1 for _ in answers(predictor, paths, threads=threads)))


def _pixels(predictor: Predictor, path: str) -> int:
    predictor.pixels(decode(Path(path)))
    return 1


def _by_torch(clip: Any, ready: np.ndarray, groups: int) -> int:
    tower = clip.network.get_submodule("visual")
    batch = torch.from_numpy(np.concatenate([ready] * 4))
    with torch.inference_mode():
        return sum(len(tower(batch)) for _ in range(max(1, groups // 8)))


_PEAK = """\
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""A small program that runs another: a process's peak begins with that of whoever started it."""


def command(model: Path, *paths: str) -> tuple[float, float]:
    """Run `fdbpl predict` as a user does; return its seconds, and its peak memory in MiB."""
    words = [sys.executable, "-m", "fdbpl", "predict", str(model), *paths]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _PEAK, *words], stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - start, int(done.stdout) / 1024


@click.command()
@click.option("--pictures", "count", default=1000, show_default=True)
@click.option("--sizes", default="64,500", show_default=True, help="Longer sides in pixels.")
@click.option("--stream", default=0, show_default=True, help="So many more, for memory alone.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(count: int, sizes: str, stream: int, path: Path) -> None:
    """Measure predictions of pictures of each size; the first answer; memory."""
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    asked = {"pictures": count, "sizes": sizes, "stream": stream, "threads": threads}
    found: dict[str, Any] = {"rows": [], "first_s": 0.0, "memory_mb": {}}
    model = made()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        save_model(folder / "model", model, {})
        for size in map(int, sizes.split(",")):
            place = folder / str(size)
            place.mkdir()
            paths = pictures(place, count, size)
            row: dict[str, Any] = {"size": size}
            row |= dict(rows_of(folder / "model", model.clip, paths, threads))
            row["limit"] = 1 / (1 / row["encoder"] + 1 / row["decoder"])
            found["rows"].append(row)
        found["first_s"] = median(command(folder / "model", paths[0])[0] for _ in range(REPEATS))
        found["memory_mb"][str(count)] = command(folder / "model", str(place))[1]
        if stream:
            many = folder / "many"
            many.mkdir()
            for number, one in enumerate(islice(cycle(paths), stream)):
                (many / f"{number:07d}.jpg").symlink_to(one)
            found["memory_mb"][str(stream)] = command(folder / "model", str(many))[1]
        whole = finding.save(path, "predict", asked, **found)
    click.echo(section(whole))


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    lines = [
        {
            **row,
            **{f"of_{key}": f"{row['whole'] / row[key]:.0%}" for key in ("limit", "encoder")},
            "of_torch": f"{row['whole'] / row['torch']:.1f}",
        }
        for row in found["rows"]
    ]
    heads = {"size": "longer side, px", "whole": "pictures/s", "decoder": "decoder alone",
             "encoder": "encoder alone", "limit": "limit of both", "of_limit": "of that limit",
             "of_encoder": "of the encoder", "torch": "encoder by torch",
             "of_torch": "times torch's"}  # fmt: skip
    peaks = " and ".join(
        f"{peak:.0f} MiB with {int(count):,}" for count, peak in found["memory_mb"].items()
    )
    return (
        f"{finding.source(found)}\nFirst answer {found['first_s']:.2f} s after the command; the "
        f"most memory it took, {peaks} pictures.\n\n{finding.rows(heads, lines)}"
    )


if __name__ == "__main__":
    main()
