"""What a cache of very many regions takes: python -m bench.scale --json scale.json --doc

Measures on one core what one region costs, and multiplies. `--doc` writes the tables into
docs/scale.md, each line marked as measured or extrapolated. Takes under a minute.
"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from fdbpl.training.features import STREAM_BYTES
from PIL import Image

from bench.blocks import replace_block
from bench.cache_way import unit_features
from fdbpl.cache.build import CHUNK_VIEWS, SHARD_BYTES
from fdbpl.cache.codec import BLOCK_BYTES, Shard, encode_shard
from fdbpl.cache.keys import KEY_BYTES
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.shapes import random_model
from fdbpl.regions.boxes import REGION
from fdbpl.regions.plan import IMAGE
from fdbpl.system.files import readable_json, sha256, write_whole
from fdbpl.system.machine import machine

DOC = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
MODELS = {"tiny": "fdbpl-tiny-student", "ViT-B-32": "ViT-B-32"}
WIDTHS = {"student": 512, "teacher": 1024}  # of ViT-B/32 and of ViT-H/14
GFLOP = {"ViT-B-32": 8.8, "ViT-H-14": 335.0}  # of one image forward
PICTURE = (500, 375)  # pixels of a usual image of ImageNet
PATH = "images/train/n01440764/n01440764_10026.JPEG"
SCENES = {"ImageNet-1k": (1_281_167, 50), "a billion regions": (20_000_000, 50)}
DAY = 24


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """The least of several times."""
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        took.append(time.perf_counter() - start)
    return min(took)


def measure(batch: int, rows: int, repeats: int) -> dict[str, float]:
    """Return what one region costs: seconds, and bytes."""
    torch.set_num_threads(1)
    found = {}
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    picture = Image.fromarray(noise).resize(PICTURE)  # smooth, as photographs are
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    found["decode_image_s"] = seconds(lambda: np.asarray(Image.open(file).convert("RGB")), repeats)
    for name, architecture in MODELS.items():
        encoder = ImageEncoder(random_model(architecture, 0), precision="fp32", batch_size=batch)
        pixels = np.stack([encoder.pixels(picture, (50, 50, 300, 300))] * batch)
        found[f"crop_{name}_s"] = seconds(
            lambda encoder=encoder: encoder.pixels(picture, (50, 50, 300, 300)), 5 * repeats
        )
        found[f"encode_{name}_s"] = (
            seconds(lambda encoder=encoder, pixels=pixels: encoder.encode(pixels), repeats) / batch
        )
    for role, width in WIDTHS.items():
        columns = {"feature": unit_features(rows, width)}
        regions = np.zeros(rows, REGION)
        random = np.random.default_rng(1)
        regions["image"], regions["crop"] = np.arange(rows) // 50, np.arange(rows) % 50
        regions["box"] = random.integers(0, PICTURE[1], regions["box"].shape)
        regions["flip"] = random.integers(0, 2, rows)
        columns["key"] = random.integers(0, 256, (rows, KEY_BYTES), np.uint8)
        columns |= {name: regions[name] for name in REGION.names or ()}
        shard = encode_shard(columns)
        found[f"cache_{role}_bytes"] = len(shard) / rows
        stored = {name: columns[name] for name in ("key", "feature")}
        found[f"store_{role}_bytes"] = len(encode_shard(stored)) / rows
        found[f"write_{role}_s"] = (
            seconds(lambda c=columns: sha256(encode_shard(c)), repeats) / rows
        )
        found[f"read_{role}_s"] = (
            seconds(lambda s=shard: Shard(s).read(["feature"]), repeats) / rows
        )
    return found


def per_region(found: dict[str, float]) -> str:
    """Return the table of what was measured."""
    rows = {
        f"decode an image of {PICTURE[0]} x {PICTURE[1]} (once for its regions), ms":
            1e3 * found["decode_image_s"],
        **{f"crop and resize, {name}, ms": 1e3 * found[f"crop_{name}_s"] for name in MODELS},
        **{f"encode, {name}, ms": 1e3 * found[f"encode_{name}_s"] for name in MODELS},
        **{f"write, {width} numbers, µs": 1e6 * found[f"write_{role}_s"]
           for role, width in WIDTHS.items()},
        **{f"read and check, {width} numbers, µs": 1e6 * found[f"read_{role}_s"]
           for role, width in WIDTHS.items()},
        **{f"bytes in the cache, {width} numbers in fp16": found[f"cache_{role}_bytes"]
           for role, width in WIDTHS.items()},
        **{f"bytes in the region store, {width} numbers in fp16": found[f"store_{role}_bytes"]
           for role, width in WIDTHS.items()},
    }  # fmt: skip
    lines = [f"| {name} | {value:,.4g} |" for name, value in rows.items()]
    return "\n".join(["| of one region, measured | |", "| --- | ---: |", *lines])


def scene(images: int, crops: int, found: dict[str, float], price: float) -> dict[str, str]:
    """Return the extrapolations for so many images and regions of each."""
    regions = images * crops
    pixels_h = images * found["decode_image_s"] / 3600 + regions * found["crop_ViT-B-32_s"] / 3600
    student_h = regions * found["encode_ViT-B-32_s"] / 3600
    teacher_h = student_h * GFLOP["ViT-H-14"] / GFLOP["ViT-B-32"]
    write_h = 2 * regions * sum(found[f"write_{role}_s"] for role in WIDTHS) / 3600
    read_h = regions * sum(found[f"read_{role}_s"] for role in WIDTHS) / 3600
    cores = pixels_h * 2 + student_h + teacher_h + write_h
    in_cache = regions * sum(found[f"cache_{role}_bytes"] for role in WIDTHS)
    in_store = regions * sum(found[f"store_{role}_bytes"] for role in WIDTHS)
    shards = sum(-(-regions // (SHARD_BYTES // (2 * width))) for width in WIDTHS.values())
    window = STREAM_BYTES // 2 // (2 * WIDTHS["teacher"])
    block_rows = BLOCK_BYTES // (2 * WIDTHS["teacher"])
    blocks = -(-regions // block_rows)
    # of a window's rows, spread evenly over the blocks, some share a block
    per_window = blocks * -np.expm1(min(window, images) * np.log1p(-1 / blocks))
    decoded = per_window * block_rows / min(window, images)
    epoch_h = images * decoded * sum(found[f"read_{role}_s"] for role in WIDTHS) / 3600
    return {
        "images, regions of each": f"{images:,} x {crops}",
        "features as numbers": size(regions * 2 * sum(WIDTHS.values())),
        "both caches": size(in_cache),
        "both region stores": size(in_store),
        "shards of the caches": f"{shards:,}",
        "segments of the stores, as workers write them": f"{2 * -(-regions // CHUNK_VIEWS):,}",
        "a plan's regions, on disk": size(regions * REGION.itemsize),
        "a plan's images, in memory": size(images * (IMAGE.itemsize + sys.getsizeof(PATH))),
        "decoding and cropping, both models, core hours": f"{2 * pixels_h:,.0f}",
        "student ViT-B/32, core hours": f"{student_h:,.0f}",
        "teacher ViT-H/14 on such cores, core hours": f"{teacher_h:,.0f}",
        "writing store and caches, core hours": f"{write_h:,.1f}",
        f"workers of one core to be done in {DAY} hours": f"{np.ceil(cores / DAY):,.0f}",
        f"cost at {price} a core hour": f"{cores * price:,.0f}",
        "teacher on an accelerator that sustains 100 TFLOP/s, hours":
            f"{regions * GFLOP['ViT-H-14'] / 1e5 / 3600:,.0f}",
        "reading all once, both models, one core, hours": f"{read_h:,.2f}",
        "rows decoded for one used, streaming an epoch": f"{decoded:.0f}",
        "reading one streamed epoch, one core, hours": f"{epoch_h:,.2f}",
    }  # fmt: skip


def size(count: float) -> str:
    """Return bytes in the unit of three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def tables(found: dict[str, float], price: float) -> str:
    scenes = {name: scene(*numbers, found, price) for name, numbers in SCENES.items()}
    first = next(iter(scenes.values()))
    lines = [
        f"| {key} | " + " | ".join(one[key] for one in scenes.values()) + " |" for key in first
    ]
    about = "; ".join(machine())
    return "\n".join(
        [
            f"{about}; one core is used.",
            "",
            per_region(found),
            "",
            "| extrapolated | " + " | ".join(scenes) + " |",
            "| --- |" + " ---: |" * len(scenes),
            *lines,
            "",
        ]
    )


@click.command()
@click.option("--batch", default=16, show_default=True, help="Of the encoders.")
@click.option("--rows", default=20000, show_default=True, help="Of the shards.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--price", default=0.05, show_default=True, help="Of a core hour, in any currency.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
@click.option("--doc", is_flag=True, help="Write the tables into docs/scale.md.")
def main(batch: int, rows: int, repeats: int, price: float, path: Path, doc: bool) -> None:
    """Measure one region's costs, and say what very many take."""
    found = measure(batch, rows, repeats)
    write_whole(path, readable_json(found))
    text = tables(found, price)
    click.echo(text)
    if doc:
        replace_block(DOC, "bench.scale", text)


if __name__ == "__main__":
    main()
