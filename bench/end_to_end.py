"""What a first run costs with its cache to build, and what every later one does.

    python -m bench.end_to_end --json end_to_end.json --steps steps.json --encode encode.json

The tiny models really run, on one development dataset: the field's plain way with both image
towers at every step, and the cached way at 1, 5, 10 and 50 crops an image, each with the H it
reaches. For models of true size, whose runs take days on a CPU, what bench.step and bench.encode
measured of a step and of a region is multiplied by how many there are. Test images, whose features
both ways need once, are left out of both.
"""

import json
import math
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import torch

from bench import finding
from bench.train import prepared, timed
from fdbpl.cache import RegionStore, region_features
from fdbpl.data.registry import open_dataset
from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.methods.registry import METHODS
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params, read_params
from fdbpl.stages import run_stage
from fdbpl.stages.cache_teacher import image_encoder
from fdbpl.system.workspace import Workspace
from studies.records import read_trainings

CROPS = "1,5,10,50"
RUNS = 4  # on one cache, as in the project's claim
SHOTS, EPOCHS, BATCH, SEEDS = 16, 50, 32, 3  # of the field's protocol, for models of true size
TRAINED = tuple(name for name, one in METHODS.items() if one.takes_steps and one.sees != "prompted")
"""Methods whose steps run no image tower."""


def plan_of(params: Params, dataset: str, folder: Path) -> Plan:
    """Plan a dataset under these parameters, and return the plan."""
    run_stage("prepare_crops", params, Workspace(folder), dataset)
    return Plan.load(Workspace(folder).plan(dataset))


def encoding_seconds(params: Params, plan: Plan, store: RegionStore) -> float:
    """Seconds in which both models encode the regions that the store has not."""
    folder = open_dataset(plan.name, params.data).folder
    encoders = [image_encoder(params, role) for role in ("teacher", "student")]
    for encoder in encoders:
        encoder.dim  # noqa: B018 - warms the tower
    start = time.perf_counter()
    for encoder in encoders:
        region_features(plan, folder, encoder, store)
    return time.perf_counter() - start


def reached(params: Params, dataset: str, method: str, work: Workspace) -> float:
    """Return the H of the seeds' means that a method reaches."""
    own = params.model_copy(update={"methods": [method]})
    for stage in ("train_student", "evaluate"):
        run_stage(stage, own, work, dataset)
    seeds = read_trainings(own, work, dataset, [method])[method].values()
    return harmonic_mean(*(fmean(seed[half] for seed in seeds) for half in ("base", "new")))


def online_row(params: Params, dataset: str, method: str, folder: Path) -> dict[str, Any]:
    """One seed with both image towers at every step; every epoch brings other crops."""
    raw = params.model_dump()
    raw["teacher"]["mode"] = raw["student"]["features"] = "online"
    raw["seeds"], raw["regions"]["per_image"] = params.seeds[:1], params.train.epochs
    raw["data"]["root"] = str(folder / "data")
    own = check_params(raw)
    plan_of(own, dataset, folder)
    return {"method": method, "seconds": timed(own, dataset, Workspace(folder), method)[0]}


def cached_row(
    params: Params, dataset: str, method: str, crops: int, folder: Path
) -> dict[str, Any]:
    """Everything on one cache: a first run, a second seed, then all methods with all seeds."""
    raw = params.model_dump()
    raw["regions"]["per_image"] = crops
    raw["data"]["root"], raw["cache"]["store"] = str(folder / "data"), str(folder / "store")
    whole = check_params(raw)
    first, second = (whole.model_copy(update={"seeds": params.seeds[:n]}) for n in (1, 2))
    store = RegionStore(whole.cache.store)
    encode = [
        encoding_seconds(own, plan_of(own, dataset, folder), store)
        for own in (first, second, whole)
    ]
    prepared(whole, dataset, folder)  # the caches, from the store; and the test images
    work = Workspace(folder)
    one, _ = timed(first, dataset, work, method)
    methods = [name for name in whole.methods if name in TRAINED]
    every = [timed(whole, dataset, work, name)[0] for name in methods]
    return {
        "crops": crops,
        "encode": encode[0],
        "train": one,
        "second_encode": encode[1],
        "all": sum(encode) + sum(every),
        "runs": len(methods) * len(params.seeds),
        "h": reached(whole, dataset, method, work),
    }


def compared(row: dict[str, Any], online: float) -> dict[str, Any]:
    """Add what the same runs cost online: the first, RUNS on one cache, all; and when it pays."""
    first = row["encode"] + row["train"]
    spared = online - row["train"]
    return {
        **row,
        "first": first,
        "second": row["second_encode"] + row["train"],
        "first_ratio": online / first,
        "runs_ratio": RUNS * online / (row["encode"] + RUNS * row["train"]),
        "all_ratio": row["runs"] * online / row["all"],
        "even": max(1, math.ceil(row["encode"] / spared)) if spared > 0 else None,
    }


def from_units(steps: dict[str, Any], encode: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the field's protocol for models of true size, by measured units times their counts.

    Raises:
        ClickException: the units were measured with different threads or models.
    """
    about, runs = steps["options"], SEEDS * len(TRAINED)
    pair = (about["student"], about["teacher"])
    if about["threads"] != encode["options"]["threads"]:
        raise click.ClickException("steps and encoding were measured with different threads")
    rates = {
        (one["crops"], one["model"]): one["whole"]
        for one in encode["rows"]
        if one["precision"] == about["precision"]
    }
    for row, crops in product(steps["rows"], sorted({crops for crops, _ in rates})):
        if missing := [model for model in pair if (crops, model) not in rates]:
            raise click.ClickException(f"encoding of {', '.join(missing)} was not measured")
        images = SHOTS * row["classes"]
        count = EPOCHS * (images // BATCH)
        encoding = images * crops * sum(1 / rates[crops, model] for model in pair)
        training, online = (count * row[way] / 1000 for way in ("engine_ms", "online_ms"))
        known = {
            "classes": row["classes"],
            "crops": crops,
            "encode": encoding,
            "train": training,
            "second_encode": encoding,  # other images, as a bound
            "all": SEEDS * encoding + runs * training,
            "runs": runs,
        }
        yield compared(known, online) | {"online": online, "models": ", ".join(pair)}


@click.command()
@click.option("--params", "source", type=click.Path(path_type=Path), default=Path("params.yaml"))
@click.option("--dataset", default="scenes", show_default=True)
@click.option("--seeds", default="11,12,13", show_default=True)
@click.option("--method", default="fdbpl", show_default=True)
@click.option("--online-method", default="kdpl", show_default=True, help="What runs online.")
@click.option("--crops", default=CROPS, show_default=True)
@click.option("--steps", type=click.Path(path_type=Path, exists=True), help="Of bench.step.")
@click.option("--encode", type=click.Path(path_type=Path, exists=True), help="Of bench.encode.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(
    source: Path, seeds: str, steps: Path | None, encode: Path | None, path: Path, **options: str
) -> None:
    """Run both ways on the playground; then count for models of true size."""
    torch.set_num_threads(1)
    dataset = options["dataset"]
    raw = read_params(source).model_dump()
    raw |= {"datasets": [dataset], "seeds": [int(one) for one in seeds.split(",")]}
    raw |= {"protocols": ["base-to-new"], "development": [], "shifted": []}
    params = check_params(raw | {"source": raw["datasets"][0]})
    with tempfile.TemporaryDirectory() as root:
        online = online_row(params, dataset, options["online_method"], Path(root))
    found: dict[str, Any] = {"dataset": dataset, "online": online, "rows": [], "units": []}
    for crops in map(int, options["crops"].split(",")):
        with tempfile.TemporaryDirectory() as root:
            row = cached_row(params, dataset, options["method"], crops, Path(root))
        found["rows"].append(compared(row, online["seconds"]))
    if steps and encode:
        found["units"] = [*from_units(*(json.loads(one.read_text()) for one in (steps, encode)))]
    click.echo(section(finding.save(path, "end_to_end", {**options, "seeds": seeds}, **found)))


def section(found: dict[str, Any]) -> str:
    """Return the tables for docs/performance.md."""
    online = found["online"]
    ratios = {"first_ratio": "times less: first run", "runs_ratio": f"{RUNS} runs on one cache",
              "all_ratio": "methods x seeds", "even": "pays from run"}  # fmt: skip
    tiny = {"crops": "crops an image", "h": "H", "encode": "encode, s", "train": "train, s",
            "first": "first run, s", "second": "second seed, s", "all": "methods x seeds, s",
            **ratios}  # fmt: skip
    parts = [
        finding.source(found),
        f"The tiny models, really run on {found['dataset']}, one thread: `{online['method']}` with "
        f"both image towers at every step takes {online['seconds']:.1f} s a seed. With a cache:",
        finding.rows(tiny, found["rows"]),
    ]
    if found["units"]:
        units = {"models": "student, teacher", "classes": "classes", "crops": "crops an image",
                 "online": "online run, h", "encode": "encode, h", "train": "train, h",
                 "first": "first run, h", **ratios}  # fmt: skip
        hours = ("online", "encode", "train", "first")
        lines = [{**row, **{key: row[key] / 3600 for key in hours}} for row in found["units"]]
        parts += [
            f"Models of true size, not run but counted: {SHOTS} shots, {EPOCHS} epochs, batch "
            f"{BATCH}; the measured time of a step and of a region, times how many there are. "
            "Reading and cutting images is left out of the online way, where it would come on top.",
            finding.rows(units, lines),
        ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
