"""The command `fdbpl record`."""

from collections.abc import Sequence
from pathlib import Path

import click

from fdbpl.cli.options import params_option, repair_first, run_option, words, workspace
from fdbpl.settings.params import Params, read_params
from fdbpl.system.errors import UserError

NONE = ["none"]


@click.command()
@params_option()
@run_option("Record runs/RUN, not DVC's outputs.")
@click.option(
    "--register",
    multiple=True,
    callback=words,
    metavar="METHOD,METHOD",
    help="Methods that become registered models, one a dataset; fdbpl if not given, or none.",
)
def record(params_path: Path, run: str | None, register: list[str]) -> None:
    """Show every result in MLflow, each once: run it as often as you like."""
    from fdbpl.system.progress import progress
    from fdbpl.tracking import EXPERIMENT, REGISTERED, record, store_uri
    from fdbpl.tracking.records import read_records
    from fdbpl.tracking.uris import unused

    for line in unused():
        click.echo(line)
    params = read_params(params_path)
    repair_first()
    asked = [] if register == NONE else _of_the_student(register, params)
    if run is not None and asked:  # a model's name says no run
        raise UserError(f"--register is for DVC's outputs, not for runs/{run}. Leave out one.")
    work = workspace(run)
    records = read_records(params, work)
    for note in records.notes:
        click.echo(note)
    if not records.seeds:
        steps = "dvc repro" if run is None else f"the stages with --run {run}"
        raise UserError(f"nothing to record in {work.root}. Run {steps} first.")
    _require_learned(asked, [one.method for one in records.seeds if one.files])
    methods = REGISTERED if run is None and not register else asked
    experiment = EXPERIMENT if run is None else f"{EXPERIMENT} runs/{run}"
    with progress("recording in MLflow") as report:
        counts = record(records, experiment, register=methods, report=report)
    for note in counts.notes:
        click.echo(note)
    click.echo(f"MLflow: {counts.written} runs written, {counts.found} were there ({store_uri()})")


def _of_the_student(methods: Sequence[str], params: Params) -> list[str]:
    """Leave out, with a line that says why, the methods that can never become models."""
    from fdbpl.serving.model_folder import NO_MODEL

    of_teacher = {one.name for one in params.chosen_methods if one.sees == "teacher"}
    for method in methods:
        if method in of_teacher:
            click.echo(f"{method}: no registered model: the method {NO_MODEL}.")
    return [method for method in methods if method not in of_teacher]


def _require_learned(methods: Sequence[str], learned: Sequence[str]) -> None:
    for method in methods:
        if method not in learned:
            raise UserError(
                f"--register names {method!r}, wanted methods with prompts recorded here "
                f"({', '.join(dict.fromkeys(learned)) or 'there are no such'}), or none."
            )
