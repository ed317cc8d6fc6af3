"""Timing a few batches of an encoder and a few steps of a training, on this machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.images import decode
from fdbpl.methods.batch import Batch
from fdbpl.methods.table import Method
from fdbpl.params import Params
from fdbpl.training.learning import starting_contexts, text_encoder
from fdbpl.training.threads import threads_for

SECONDS = 3.0  # what one measurement may take, about
REPEATS = 3


@dataclass(frozen=True)
class Timed:
    """Seconds of one unit, and the size (views or classes) of the piece that was timed."""

    seconds: float
    size: int


def encoder_time(clip: ClipModel, precision: str, batch: int, device: str) -> Timed:
    """Return the seconds of a view in batches of `batch`, or of fewer where those take long."""
    one = _encoding(clip, precision, 1, device)
    size = max(1, min(batch, int(SECONDS / REPEATS / one)))
    return Timed(_encoding(clip, precision, size, device) / size, size)


def _encoding(clip: ClipModel, precision: str, size: int, device: str) -> float:
    encoder = ImageEncoder(clip, precision=precision, batch_size=size, device=device)
    side = clip.image_size
    pixels = np.random.default_rng(0).standard_normal((size, 3, side, side), np.float32)
    return _seconds(lambda: encoder.encode(pixels))


def pixel_time(clip: ClipModel, folder: Path, paths: Sequence[str], crops: int) -> float:
    """Return the seconds in which one thread reads, cuts and normalises one of an image's crops."""
    encoder = ImageEncoder(clip, precision="fp32", batch_size=1)

    def work() -> None:
        for path in paths:
            image = decode(folder / path)
            box = (0, 0, max(1, image.width // 2), max(1, image.height // 2))
            for _ in range(crops):
                encoder.pixels(image, box)

    return _seconds(work) / (crops * len(paths))


def step_time(clip: ClipModel, method: Method, names: Sequence[str], params: Params) -> Timed:
    """Return the seconds of one step of all seeds, of as many classes as can be timed quickly."""
    few = _step(clip, method, names[: min(len(names), 4)], params)
    size = len(names)
    if few * size / 4 > SECONDS:
        size = max(4, min(size, int(4 * SECONDS / few)))
    return Timed(_step(clip, method, names[:size], params), size)


def _step(clip: ClipModel, method: Method, names: Sequence[str], params: Params) -> float:
    seeds = len(params.seeds)
    batch = _random_batch(seeds, params.train.batch, len(names), clip)
    start = starting_contexts(clip, method)
    contexts = start.repeat(seeds, 1, 1, 1).requires_grad_()
    text = text_encoder(clip, names, params.train)

    def step() -> None:
        features = text(contexts.flatten(0, 1))
        sides = features.view(*contexts.shape[:2], *features.shape[1:])
        terms = method.objective(batch, sides, clip.logit_scale)
        torch.stack(tuple(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        if contexts.is_cuda:
            torch.cuda.synchronize()

    with threads_for(seeds * start.numel() * len(names)):
        return _seconds(step)


def _random_batch(seeds: int, regions: int, classes: int, clip: ClipModel) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(clip.text_device)

    width = text_encoder(clip, ["thing"])(draw(1, 4, _width(clip))).shape[-1]
    log_p = draw(seeds, regions, classes).log_softmax(-1)
    return Batch(
        student=F.normalize(draw(seeds, regions, width), dim=-1),
        teacher=log_p,
        labels=torch.zeros_like(log_p[..., 0], dtype=torch.long),
        anchors=F.normalize(draw(classes, width), dim=-1),
        areas=draw(seeds, regions).sigmoid(),
        levels=draw(seeds, regions).sigmoid().sort().values,
        refined=log_p,
    )


def _width(clip: ClipModel) -> int:
    return int(clip.text_tower.positional_embedding.shape[1])


def _seconds(work: Callable[[], object]) -> float:
    """Return the median seconds of `work`, once it is warm."""
    work()
    took = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return median(took)
