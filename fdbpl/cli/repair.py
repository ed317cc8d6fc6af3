"""The command `fdbpl repair`."""

import click


@click.command()
def repair() -> None:
    """Mend what a crash, a full disk or a move left of the project, and say what was done.

    Nothing that cannot be made again is removed: what is damaged is moved to .fdbpl/damaged. All of
    DVC's cache is read; lanes, flows, record, up and down begin with the quick part of this.
    """
    from flows.repair import repair as mended

    lines = list(mended(thoroughly=True))
    click.echo("\n".join(lines) or "nothing to mend")
