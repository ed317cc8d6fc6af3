"""The command line: one file a group of commands."""

from typing import Any

import click

from fdbpl import __version__
from fdbpl.cli import (
    cache,
    data,
    export,
    init,
    learn,
    pack,
    predict,
    preset,
    push,
    record,
    repair,
    report,
    serve,
    servers,
    stages,
)
from fdbpl.cli.options import Command
from fdbpl.system.terminal import replace_unknown_letters


class _Commands(Command, click.Group):
    """Commands that answer what the user can mend with one line, on any terminal."""

    def main(self, *arguments: Any, **more: Any) -> Any:
        """Run what the command line says."""
        replace_unknown_letters()
        return super().main(*arguments, **more)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Faster distillation-based prompt learning for CLIP-like models.

    For pictures of your own: learn writes a model, predict and serve tell pictures by it, push and
    pull pass it on, export writes it for other programs, pack writes that of what the stages
    learned.

    The stages, in order: prepare-crops, cache-teacher, train-student, evaluate for each dataset,
    under all protocols; then compare and ood. By hand they work in runs/NAME; `dvc repro` runs
    them all and skips what is unchanged.
    """


for command in (
    *(learn.learn, pack.pack, predict.predict, serve.serve, export.export, push.push, push.pull),
    *stages.STAGES,
    *(stages.regions, stages.estimate),
    *(init.init, preset.preset, data.data, cache.cache),
    *(record.record, report.report, repair.repair),
    *(servers.up, servers.down),
):
    main.add_command(command)
