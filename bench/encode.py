"""Regions a second, against the encoder alone: python -m bench.encode --json encode.json

Photographs are stood in for by JPEG files of noise with a photograph's spectrum. Models have their
true shapes; "whole" is all that a build does: read, decode once an image, cut, resize, normalise,
encode, store. "Alone" is the image tower on tensors that lie ready.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from bench import finding
from bench.peak import gflop, product_peak, synchronise
from fdbpl.cache import RegionStore, region_features
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.clip.shapes import random_model
from fdbpl.data.readers.folder import read_folder
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan

SIZE = (500, 375)
PICTURES = 16  # different ones; more files are copies with other content hashes
REPEATS = 3


def photograph(seed: int) -> Image.Image:
    """Draw noise whose amplitude falls with frequency, as that of photographs does."""
    width, height = SIZE
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / width)
    planes = []
    for _ in range(3):
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        plane = np.fft.irfft2(amplitude * phase, s=(height, width))
        planes.append(128 + 48 * plane / plane.std())
    return Image.fromarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8))


def draw_files(folder: Path, count: int) -> None:
    """Write a folder dataset of two classes: so many training images, and one test image each."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for seed in range(PICTURES):
        photograph(seed).save(pictures / f"{seed}.jpg", quality=90)
    data = [(pictures / f"{seed}.jpg").read_bytes() for seed in range(PICTURES)]
    for split, number in (("train", count), ("test", 2)):
        for index in range(number):
            path = folder / "images" / split / "ab"[index % 2] / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[index % PICTURES] + index.to_bytes(4, "little"))


def plan_of(folder: Path, images: int, crops: int) -> Plan:
    """Plan so many training images of the folder, with so many regions each."""
    dataset = read_folder("photographs", folder / "images", "a photo of a {}.")
    regions = RegionParams(per_image=crops)
    return make_plan(
        dataset, regions=regions, shots=images // 2, seeds=[1], protocols=[ALL_CLASSES]
    )


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median seconds of `work`, once it is warm."""
    work()
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return median(took)


def rows_of(
    clip: ClipModel, folder: Path, crops: list[int], options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Measure one model in one precision: alone, and whole at each number of crops."""
    device, precision, batch = options["device"], options["precision"], options["batch"]
    encoder = ImageEncoder(clip, precision=precision, batch_size=batch, device=device)
    side = clip.image_size
    tower = clip.network.get_submodule("visual")
    on_device = torch.randn(batch, 3, side, side).to(device)
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16

    def alone() -> None:
        with torch.inference_mode(), torch.autocast(device, dtype, enabled=precision != "fp32"):
            tower(on_device)
        synchronise(device)

    limit = batch / seconds(alone)
    with torch.inference_mode():
        a_view = gflop(lambda: tower(on_device[:1]))
    regions = max(2 * batch, int(options["seconds"] * limit))
    for count in crops:
        images = min(-(-regions // count), options["images"])
        images = max(2, images - images % 2)
        plan = plan_of(folder, images, count)
        with tempfile.TemporaryDirectory() as store:
            start = time.perf_counter()
            _, counts = region_features(
                plan, folder / "images", encoder, RegionStore(store), threads=options["threads"]
            )
            took = time.perf_counter() - start
        yield {
            "model": clip.identity["architecture"],
            "precision": precision,
            "crops": count,
            "images": images,
            "regions": counts.encoded,
            "whole": counts.encoded / took,
            "alone": limit,
            "share": counts.encoded / took / limit,
            "gflop": a_view,
            "gflops": counts.encoded / took * a_view,
        }


@click.command()
@click.option("--models", default="ViT-B-32,ViT-L-14,fdbpl-tiny-student,fdbpl-tiny-teacher")
@click.option("--precisions", default="fp32,bf16", show_default=True)
@click.option("--crops", default="1,5,10,50", show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--seconds", "limit", default=4.0, show_default=True, help="Of one measurement.")
@click.option("--images", default=512, show_default=True, help="At most.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", default=2, show_default=True, help="Torch's, and those that decode.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(
    models: str, precisions: str, crops: str, limit: float, path: Path, **options: Any
) -> None:
    """Measure encoding of each model, precision and number of crops; results stay as they come."""
    torch.set_num_threads(options["threads"])
    asked = {"models": models, "precisions": precisions, "crops": crops, "seconds": limit}
    counts = [int(one) for one in crops.split(",")]
    found: dict[str, Any] = {"rows": [], "peak_gflops": {}}
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        draw_files(folder, options["images"])
        for name in models.split(","):
            clip = random_model(name, seed=0)
            for precision in precisions.split(","):
                peaks = found["peak_gflops"]
                if precision not in peaks:
                    peaks[precision] = product_peak(options["device"], precision)
                own = {**options, "precision": precision, "seconds": limit}
                for row in rows_of(clip, folder, counts, own):
                    found["rows"].append(row)
                    whole = finding.save(path, "encode", {**asked, **options}, **found)
    click.echo(section(whole))


def section(found: dict[str, Any]) -> str:
    """Return the tables for docs/performance.md."""
    peaks = found["peak_gflops"]
    lines = [{**row, "peak": row["gflops"] / peaks[row["precision"]]} for row in found["rows"]]
    for line in lines:
        line |= {key: f"{line[key]:.0%}" for key in ("share", "peak")}
    limits = ", ".join(f"{number:,.0f} in {name}" for name, number in peaks.items())
    heads = {"model": "model", "precision": "precision", "crops": "crops an image",
             "regions": "regions", "whole": "regions/s, whole", "alone": "encoder alone",
             "share": "whole of alone", "gflop": "GFLOP a region",
             "gflops": "GFLOP/s, whole", "peak": "of a matrix product"}  # fmt: skip
    limit = f"The limit, a matrix product's GFLOP/s: {limits}."
    return f"{finding.source(found)}\n{limit}\n\n{finding.rows(heads, lines)}"


if __name__ == "__main__":
    main()
