"""The command line: every stage by hand, into runs/NAME or through DVC."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fdbpl import __version__
from fdbpl.cache.params import WorkerParams
from fdbpl.cli.cache import cache
from fdbpl.cli.data import data
from fdbpl.cli.preset import preset
from fdbpl.settings.params import DEFAULT_PATH, read_params
from fdbpl.stages import PER_DATASET, run_stage
from fdbpl.system.errors import UserError, told
from fdbpl.system.workspace import Workspace

USER_MISTAKE = 2
DVC_YAML = Path("dvc.yaml")


class Command(click.Command):
    """Turns what the user can mend into one line and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(context)
        except (UserError, OSError) as error:
            line = told(error)
            if line is None:
                raise
            click.echo(f"error: {line}", err=True)
            context.exit(USER_MISTAKE)


class _Commands(Command, click.Group):
    """Commands that do so."""


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Faster distillation-based prompt learning for CLIP-like models.

    The stages, in order: prepare-crops, cache-teacher, train-student, evaluate for each dataset;
    prepare-transfer, cache-transfer, train-transfer, transfer from one dataset to the others;
    then compare and ood. By hand they work in runs/NAME; `dvc repro` runs them all and skips
    what is unchanged.
    """


PARAMS = click.option(
    "--params",
    "params_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_PATH,
    show_default=True,
    help="The parameters.",
)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        PARAMS,
        click.option(
            "--run", default="default", show_default=True, help="Work in runs/RUN.", metavar="RUN"
        ),
        click.option(
            "--dvc", is_flag=True, help="Let DVC do it: bring the versioned outputs up to date."
        ),
    ):
        command = option(command)
    return command


def _by_hand(stage: str, dataset: str | None, params_path: Path, run: str, dvc: bool) -> None:
    if dvc:
        sys.exit(_dvc_repro(stage.replace("_", "-"), dataset, params_path))
    work = _by_hand_workspace(run)
    click.echo("\n".join(run_stage(stage, read_params(params_path), work, dataset, _open_pool)))


def _open_pool(workers: WorkerParams) -> Any:
    """Open the workers of a stage that encodes; of those only Dask's and Ray's import Prefect."""
    from flows.workers import open_pool

    return open_pool(workers)


def _by_hand_workspace(run: str) -> Workspace:
    if Path(run).name != run or run in ("", ".."):
        raise UserError(f"--run is {run!r}, wanted a plain name: the folder is runs/NAME.")
    return Workspace(Path("runs") / run)


def workspace(run: str | None) -> Workspace:
    """Return runs/RUN, or DVC's outputs where no run is given."""
    return Workspace(Path()) if run is None else _by_hand_workspace(run)


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
    target = stage if dataset is None else f"{stage}@{dataset}"
    command = [sys.executable, "-m", "dvc", "repro", target]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, check=False, env=environment).returncode


def _add_stage(stage: str, summary: str) -> None:
    """Add the command of a stage; those over all datasets take no DATASET."""

    @_options
    def command(params_path: Path, run: str, dvc: bool, dataset: str | None = None) -> None:
        _by_hand(stage, dataset, params_path, run, dvc)

    if stage in PER_DATASET:
        command = click.argument("dataset")(command)
    main.command(stage.replace("_", "-"), help=summary)(command)


_add_stage("prepare_crops", "Choose images, splits, shots and random regions of DATASET.")
_add_stage("cache_teacher", "Encode the regions of DATASET that no run has encoded before.")
_add_stage("train_student", "Learn the prompts of every method and seed on DATASET.")
_add_stage("evaluate", "Measure base and new accuracy of every method on DATASET.")
_add_stage("prepare_transfer", "Plan the transfer's source with all classes, and its targets.")
_add_stage("cache_transfer", "Encode what prepare-transfer planned and no run has encoded before.")
_add_stage("train_transfer", "Learn the prompts of every method and seed on the source.")
_add_stage("transfer", "Measure every method on the source and, unchanged, on the targets.")
_add_stage("compare", "Compare all evaluated datasets: tables and plot.")
_add_stage("ood", "Measure out-of-distribution (OOD) detection and calibration of every method.")


@main.command()
@click.argument("dataset")
@click.argument("image")
@PARAMS
@click.option("--run", default=None, metavar="RUN", help="Of runs/RUN, not DVC's outputs.")
@click.option("--method", default="fdbpl", show_default=True, help="Whose student is asked.")
@click.option("--seed", type=int, default=None, help="Of its training; the first by default.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG to write.")
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


@main.command()
@PARAMS
@click.option("--run", default=None, metavar="RUN", help="For runs/RUN, not DVC's outputs.")
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


main.add_command(data)
main.add_command(cache)
main.add_command(preset)


@main.command()
@PARAMS
@click.option("--run", default=None, metavar="RUN", help="Record runs/RUN, not DVC's outputs.")
def record(params_path: Path, run: str | None) -> None:
    """Show every result in MLflow, each once: run it as often as you like."""
    from fdbpl.system.progress import progress
    from fdbpl.tracking import EXPERIMENT, record, store_uri
    from fdbpl.tracking.records import read_records

    work = workspace(run)
    records = read_records(read_params(params_path), work)
    for note in records.notes:
        click.echo(note)
    if not records.seeds:
        steps = "dvc repro" if run is None else f"the stages with --run {run}"
        raise UserError(f"nothing to record in {work.root}. Run {steps} first.")
    experiment = EXPERIMENT if run is None else f"{EXPERIMENT} runs/{run}"
    with progress("recording in MLflow") as report:
        counts = record(records, experiment, register=run is None, report=report)
    click.echo(f"MLflow: {counts.written} runs written, {counts.found} were there ({store_uri()})")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the servers listen.")
@click.option("--prefect-port", default=4200, show_default=True, help="The first one to try.")
@click.option("--mlflow-port", default=5000, show_default=True, help="The first one to try.")
def up(host: str, prefect_port: int, mlflow_port: int) -> None:
    """Start Prefect's server and a worker and MLflow's server, or find them running."""
    from flows import servers

    urls = servers.up(host, prefect_port, mlflow_port, say=click.echo)
    click.echo(
        f"""
  Prefect   {urls["Prefect"]}   flows, schedules, logs
  MLflow    {urls["MLflow"]}   runs and their comparison
  worker    {servers.POOL}, up to {servers.RUNS_AT_ONCE} runs at once

  start     prefect deployment run 'benchmark/playground' --watch
  logs      {servers.FOLDER}/
  end       fdbpl down"""
    )


@main.command()
def down() -> None:
    """End everything that `fdbpl up` started."""
    from flows import servers

    ended = servers.down()
    click.echo(f"ended {ended} processes" if ended else "nothing was running")
