"""The stages by hand, into runs/NAME or through DVC, and what is asked of them beside."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fdbpl.cache.params import WorkerParams
from fdbpl.cli.options import (
    UserPath,
    params_option,
    repair_first,
    run_option,
    run_workspace,
    workspace,
)
from fdbpl.settings.params import DEFAULT_PATH, read_params
from fdbpl.stages import PER_DATASET, run_stage
from fdbpl.stages.started import started
from fdbpl.system.errors import UserError

DVC_YAML = Path("dvc.yaml")

ABOUT = {
    "prepare_crops": "Choose images, splits, shots and random regions of DATASET.",
    "cache_teacher": "Encode the regions of DATASET that no run has encoded before.",
    "train_student": "Learn the prompts of every method and seed on DATASET.",
    "evaluate": "Measure the accuracies of every method on DATASET, under every protocol.",
    "compare": "Compare all evaluated datasets: tables and plot.",
    "ood": "Measure out-of-distribution (OOD) detection and calibration of every method.",
}
"""The stages, in order, and what each command says of its own."""


def _command(stage: str, about: str) -> click.Command:
    """Return the command of a stage; of those over all datasets it takes no DATASET."""

    @click.option(
        "--dvc", is_flag=True, help="Let DVC do it: bring the versioned outputs up to date."
    )
    @run_option("Work in runs/RUN.", "default")
    @params_option()
    def command(params_path: Path, run: str, dvc: bool, dataset: str | None = None) -> None:
        named = stage.replace("_", "-")
        if dvc:
            sys.exit(_dvc_repro(named, dataset, params_path))
        params, work = started(named, params_path, run_workspace(run), dataset)
        lines = run_stage(stage, params, work, dataset, _open_pool)
        click.echo("\n".join(lines))

    if stage in PER_DATASET:
        command = click.argument("dataset")(command)
    return click.command(stage.replace("_", "-"), help=about)(command)


def _open_pool(workers: WorkerParams) -> Any:
    """Open the workers of a stage that encodes; of those only Dask's and Ray's import Prefect."""
    from flows.workers import open_pool

    return open_pool(workers)


def _dvc_repro(stage: str, dataset: str | None, params_path: Path) -> int:
    """Run `dvc repro`, once sure that DVC knows the stage; return its exit code."""
    if params_path != DEFAULT_PATH:
        raise UserError(f"--dvc reads {DEFAULT_PATH}, not {params_path}. Leave out one of them.")
    here = Path.cwd()
    if not (DVC_YAML.is_file() and any((one / ".dvc").is_dir() for one in (here, *here.parents))):
        raise UserError(
            f"{here}: no {DVC_YAML} of a DVC project here. Run fdbpl in the project's folder, or "
            "leave out --dvc."
        )
    listed = read_params(params_path).datasets
    if dataset is not None and dataset not in listed:
        raise UserError(
            f"{params_path}: datasets has no {dataset!r}, which --dvc needs; it lists "
            f"{', '.join(listed)}. Add it, or leave out --dvc."
        )
    from flows import dvc_files

    dvc_files.require_git()
    repair_first()
    target = stage if dataset is None else f"{stage}@{dataset}"
    command = [sys.executable, "-m", "dvc", "repro", target]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, check=False, env=environment).returncode


STAGES = [_command(stage, about) for stage, about in ABOUT.items()]


@click.command()
@click.argument("dataset")
@click.argument("image")
@params_option()
@run_option("Of runs/RUN, not DVC's outputs.")
@click.option("--method", default="fdbpl", show_default=True, help="Whose student is asked.")
@click.option("--seed", type=int, default=None, help="Of its training; the first by default.")
@click.option("--out", type=UserPath(), required=True, help="The PNG to write.")
def regions(
    dataset: str,
    image: str,
    params_path: Path,
    run: str | None,
    method: str,
    seed: int | None,
    out: Path,
) -> None:
    """Draw the regions of one IMAGE, and what teacher and student make of each.

    IMAGE is a path of the dataset, a class name, whose first image is taken, or a row of the plan.
    """
    from fdbpl.stages.view_regions import view_regions

    params, work = read_params(params_path), workspace(run)
    seed = params.seeds[0] if seed is None else seed
    click.echo(view_regions(params, dataset, work, image, method, seed, out))


@click.command()
@params_option()
@run_option("For runs/RUN, not DVC's outputs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def estimate(params_path: Path, run: str | None, as_json: bool) -> None:
    """Tell the views, time and bytes of a build on this machine, before it begins."""
    from fdbpl.stages.estimate import estimate, lines_of
    from fdbpl.system.files import readable_json
    from fdbpl.system.progress import progress

    with progress("timing a little of everything") as report:
        parts = estimate(read_params(params_path), workspace(run), report)
    plain = {name: asdict(part) for name, part in parts.items()}
    click.echo(readable_json(plain).decode() if as_json else "\n".join(lines_of(parts)))
