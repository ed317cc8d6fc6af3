"""One whole tiny pipeline on a device, beside a processor's: python -m bench.pipeline --json FILE

The tiny pair, one drawn dataset: each stage's seconds, what it reaches, and how far features and
results are from those of the same pipeline on a CPU.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import finding
from fdbpl.methods.registry import title_of
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params, read_params
from fdbpl.stages import PER_DATASET, run_stage
from fdbpl.stages.caches import open_caches
from fdbpl.stages.evaluated import read_record
from fdbpl.system.workspace import Workspace

METHODS = ["zero_shot", "template_own_bridge", "kdpl", "fdbpl"]
FEATURES = "student's features"


def params_of(device: str, dataset: str, epochs: int, folder: Path) -> Params:
    """Return params.yaml's, of one dataset on a device, all written below a folder."""
    raw = read_params(Path("params.yaml")).model_dump()
    raw["train"]["epochs"], raw["regions"]["per_image"] = epochs, 5
    raw["data"]["root"], raw["cache"]["store"] = str(folder / "data"), str(folder / device)
    only = {"datasets": [dataset], "source": dataset, "shifted": [], "development": []}
    protocols = {"protocols": [BASE_TO_NEW.name], "methods": METHODS, "seeds": [1]}
    return check_params({**raw, **only, **protocols, "device": device})


def run(params: Params, work: Workspace) -> tuple[dict[str, float], dict[str, float], Any]:
    """Return each stage's seconds, each method's H in per cent, and the student's test features."""
    (dataset,) = params.datasets
    seconds = {}
    for stage in PER_DATASET:
        start = time.perf_counter()
        run_stage(stage, params, work, dataset)
        seconds[stage] = time.perf_counter() - start
    record = read_record(params, dataset, work)
    cells = record.protocols[BASE_TO_NEW.name][str(params.counts[-1])].methods
    reached = {title_of(name): of["1"].measures["h"] for name, of in cells.items()}
    caches = open_caches(params, Plan.load(work.plan(dataset)), work)
    return seconds, reached, caches["student"].features("test")


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--dataset", default="icons", show_default=True)
@click.option("--epochs", default=10, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(device: str, dataset: str, epochs: int, path: Path) -> None:
    """Run all stages of a dataset on a device and on a CPU, and compare them."""
    with tempfile.TemporaryDirectory() as root:
        runs = {
            name: run(params_of(one, dataset, epochs, Path(root)), Workspace(Path(root) / name))
            for name, one in (("here", device), ("cpu", "cpu"))
        }
    (seconds, reached, features), (_, wanted, plain) = runs["here"], runs["cpu"]
    apart = {name: abs(value - wanted[name]) for name, value in reached.items()}
    apart[FEATURES] = float(np.abs(features - plain).max())
    found = {"seconds": seconds, "reached": reached, "apart": apart}
    asked = {"device": device, "dataset": dataset, "epochs": epochs}
    click.echo(section(finding.save(path, "pipeline", asked, **found)))


def section(found: dict[str, Any]) -> str:
    """Return what a stage took, and how far results are from a CPU's."""
    took = ", ".join(
        f"{stage.replace('_', ' ')} {finding.number(one)} s"
        for stage, one in found["seconds"].items()
    )
    apart = dict(found["apart"])
    features = finding.number(apart.pop(FEATURES))
    lines = [
        {"method": name, "h": value, "apart": apart[name]}
        for name, value in found["reached"].items()
    ]
    heads = {"method": "method", "h": "H, %", "apart": "points from a CPU's"}
    return (
        f"{finding.source(found)}\n{took}. No number of the {FEATURES} is further than {features} "
        f"from a CPU's.\n\n{finding.rows(heads, lines)}"
    )


if __name__ == "__main__":
    main()
