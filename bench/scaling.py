"""Cost is linear in classes, regions and datasets: python -m bench.scaling --json scaling.json

Three sizes of each, twice as many each time: a training step over classes, encoding over regions,
and `dvc repro` of a fresh clone over datasets. What is linear doubles what it adds: the last
column is the growth from the second size to the third over twice that from the first to the
second, which is 1 where cost is linear.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from fdbpl.methods.table import POSITIVE, trained_method
from open_clip import IMAGENET_CLASSNAMES
from rich.console import Console

from bench import finding
from bench.encode import draw_files, plan_of, seconds
from bench.peak import gflop, product_peak
from bench.pipeline import Bench
from fdbpl.cache import RegionStore, region_features
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.shapes import random_model
from fdbpl.clip.shared_prefix import SharedPrefixText
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.training.learning import starting_contexts

DATASETS = ["textures", "icons", "dishes", "scenes"]
CROPS = 10
Row = dict[str, Any]


def class_rows(architecture: str, sizes: list[int], peak: float) -> list[Row]:
    """Time the text engine forward and backward, both contexts: all of a step that classes cost."""
    clip = random_model(architecture, seed=0)
    start = starting_contexts(clip, trained_method("paper"))
    found = []
    for count in sizes:
        tokens = tokenize_prompts(clip, POSITIVE, tuple(IMAGENET_CLASSNAMES[:count]))
        engine = SharedPrefixText(clip.text_tower, tokens, memory_mb=None)
        contexts = start.clone().requires_grad_()

        def step(engine: SharedPrefixText = engine, contexts: torch.Tensor = contexts) -> None:
            engine(contexts).sum().backward()

        took = seconds(step)
        row = _row(f"classes, a step of {architecture}", count, took)
        found.append({**row, "peak": f"{gflop(step) / took / peak:.0%}"})
    return found


def region_rows(architecture: str, sizes: list[int]) -> list[Row]:
    """Time everything from JPEG files to stored features, with a fresh store each."""
    clip = random_model(architecture, seed=0)
    encoder = ImageEncoder(clip, precision="fp32", batch_size=32)
    found = []
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "photographs"
        draw_files(folder, max(sizes) // CROPS)
        for size in [sizes[0], *sizes]:  # the first twice: once to warm
            plan = plan_of(folder, size // CROPS, CROPS)
            with tempfile.TemporaryDirectory() as store:

                def encode(plan: Any = plan, store: str = store) -> None:
                    region_features(plan, folder / "images", encoder, RegionStore(store))

                took = once(encode)
            found.append(_row(f"regions, encoded by {architecture}", len(plan.regions), took))
    return found[1:]


def dataset_rows(sizes: list[int]) -> list[Row]:
    """Time `dvc repro` in fresh clones over so many drawn datasets with little training."""
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as root:
            clone = Bench(Path(root) / "fdbpl", DATASETS[:size], transfer=False)
            took = once(lambda clone=clone: clone.run("-m", "dvc", "repro"))
        found.append(_row("datasets, all stages under DVC", size, took))
    return found


def once(work: Callable[[], object]) -> float:
    """Seconds of `work`."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _row(what: str, size: int, took: float) -> Row:
    return {"what": what, "size": size, "seconds": took, "peak": "-"}


def with_growth(rows: list[Row]) -> list[Row]:
    """Add to the last row how its growth compares with the growth before it, by size."""
    (a, b, c) = rows
    before = (b["seconds"] - a["seconds"]) / (b["size"] - a["size"])
    after = (c["seconds"] - b["seconds"]) / (c["size"] - b["size"])
    return [{**a, "linear": None}, {**b, "linear": None}, {**c, "linear": after / before}]


@click.command()
@click.option("--student", default="ViT-B-32", show_default=True, help="Of the step.")
@click.option("--encoder", default="fdbpl-tiny-teacher", show_default=True)
@click.option("--classes", default="50,100,200", show_default=True)
@click.option("--regions", default="640,1280,2560", show_default=True)
@click.option("--datasets", default="1,2,4", show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(path: Path, **options: str) -> None:
    """Measure three sizes of each; numerics on one thread."""
    torch.set_num_threads(1)
    classes, regions, datasets = (
        [int(one) for one in options[key].split(",")] for key in ("classes", "regions", "datasets")
    )
    peak = product_peak("cpu", "fp32")
    rows = [
        *with_growth(class_rows(options["student"], classes, peak)),
        *with_growth(region_rows(options["encoder"], regions)),
        *with_growth(dataset_rows(datasets)),
    ]
    found = finding.save(path, "scaling", options, rows=rows, peak_gflops=peak)
    Console(stderr=True, width=120).print(section(found))


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    heads = {"what": "what grows", "size": "size", "seconds": "seconds",
             "peak": "of a matrix product", "linear": "growth, 1 is linear"}  # fmt: skip
    about = (
        f"{finding.source(found)}\nThe limit, a matrix product on one thread: "
        f"{found['peak_gflops']:,.0f} GFLOP/s."
    )
    return "\n\n".join([about, finding.rows(heads, found["rows"])])


if __name__ == "__main__":
    main()
