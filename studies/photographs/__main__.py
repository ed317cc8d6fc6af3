"""Make the small weights, the pair and every figure: python -m studies.photographs --photos DIR."""

import json
import os
import shutil
from pathlib import Path

import click
from safetensors.torch import load_file

from fdbpl.cli.options import Command
from fdbpl.clip.model import state_digest
from fdbpl.system.machine import commit, machine
from studies.photographs import models, runs, vit
from studies.photographs.both_towers import write_both_towers
from studies.photographs.card import write_card
from studies.photographs.page import write_page
from studies.photographs.parts import DATASETS, class_names
from studies.photographs.sections import Run
from studies.photographs.sheet import write_sheet
from studies.photographs.shifts import SHIFTS
from studies.photographs.trials import write_trials
from studies.photographs.vit_measures import measures_in, write_measures

STEPS = ("models", "card", "trials", "vit", *runs.RUNS, "page")
"""In this order; each needs those before it, and finds again what they made."""

FROZEN = Path(__file__).with_name("frozen.json")
"""Digests of the weights that all figures in docs/ are of."""


@click.command(cls=Command)
@click.option(
    "--photos",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of the tar files, a dataset and part each.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".fdbpl/photographs"),
    show_default=True,
    help="Where all that is made goes; what is there is not made again.",
)
@click.option(
    "--real",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of caltech-101 and dtd in full size, for the card; it can do without.",
)
@click.option("--step", "steps", type=click.Choice(STEPS), multiple=True, help="This alone.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=min(2, os.cpu_count() or 1),
    show_default=True,
    help="Datasets that are learned on at a time.",
)
def main(photos: Path, out: Path, real: Path | None, steps: tuple[str, ...], jobs: int) -> None:
    """Make the small weights and their card, the pair for evidence, every figure on photographs.

    It may be interrupted at any time, and goes on where it was.
    """
    photos, out = photos.resolve(), out.resolve()
    wanted = steps or STEPS
    for dataset in DATASETS:
        class_names(photos, dataset)  # an absent one is named at once, not after minutes
    student = out / "pair" / "student.safetensors"
    if "models" in wanted:
        _models(photos, out, student, jobs)
    if "card" in wanted:
        for path in write_card(photos, real, out, Path("docs"), click.echo):
            click.echo(f"Written: {path}")
    if "trials" in wanted:
        path = write_trials(photos, out, student, Path("docs"), _about(), click.echo)
        click.echo(f"Written: {path}")
    if "vit" in wanted:
        made = vit.make(photos, out, student, vit.RECIPE, click.echo)
        for told, path in made.items():
            _compare(f"ViT, {told}", path)
        path = write_measures(photos, out, student, made, click.echo)
        click.echo(f"Written: {path}")
    asked = [name for name in runs.RUNS if name in wanted]
    if asked:
        runs.unpack_all(photos, out, click.echo)
    for name in asked:
        params = runs.parameters(runs.RUNS[name], out, student)
        runs.execute(name, params, out, jobs, click.echo)
    if "page" in wanted:
        _pages(out, student)


def _models(photos: Path, out: Path, student: Path, jobs: int) -> None:
    """Make the small pair's files in OUT/small, and the weights of the evidence's student."""
    models.write_words(out / "small")
    *own, of_pair = models.train_all(photos, out, jobs, click.echo)
    for model, path in zip(models.SMALL, own, strict=True):
        shutil.copyfile(path, out / "small" / f"{model}.safetensors")
        _compare(model, path)
    _compare("pair", models.whole_weights(of_pair, models.STUDENT, student))


def _compare(name: str, path: Path) -> None:
    digest, frozen = state_digest(load_file(path)), json.loads(FROZEN.read_text())
    if frozen.get(name) == digest:
        click.echo(f"{name}: as frozen, {digest[:12]}")
    else:
        click.echo(f"{name}: {digest}, frozen is {frozen.get(name)}: figures will differ")


def _pages(out: Path, student: Path) -> None:
    """Write the pages of docs/ of what was run, and the contact sheet, kept in OUT."""
    found = {
        name: Run(runs.measured(runs.parameters(run, out, student), run), work)
        for name, run in runs.RUNS.items()
        if (work := runs.workspace(name, out)).comparison("json").exists()
    }
    packaged = {name: run for name, run in found.items() if runs.RUNS[name].student}
    of_pair = {name: run for name, run in found.items() if name not in packaged}
    written, students = list[Path](), measures_in(out)
    if of_pair:
        written += write_page(of_pair, _about())
    if packaged or students:
        written += write_both_towers(packaged, students, _about())
    for path in written:
        click.echo(f"Written: {path}")
    shifted = {name: [f"{name}-{shift}" for shift in SHIFTS] for name in runs.SHIFTED}
    write_sheet(out / "data", list(DATASETS), out / "sheet.png", shifted)
    click.echo(f"Written: {out / 'sheet.png'}")


def _about() -> str:
    return f"commit {commit('fdbpl', 'studies') or 'unknown'}, on {', '.join(machine())}"


if __name__ == "__main__":
    main()
