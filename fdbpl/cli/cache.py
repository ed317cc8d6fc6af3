"""The commands about caches and the region store: `fdbpl cache verify | inspect | ls | gc`."""

from pathlib import Path

import click

from fdbpl.cli.options import UserPath, params_option

DAMAGED = 1


@click.group()
def cache() -> None:
    """Look after caches and the region store, at any fsspec URL: a folder, s3://bucket/folder."""


@cache.command()
@click.argument("url")
@click.pass_context
def verify(context: click.Context, url: str) -> None:
    """Read every byte of the cache at URL, or of all caches and region stores below it.

    Ends with exit code 0 when all is sound, 1 when something is damaged, naming each file, 2 when
    it cannot be read.
    """
    from fdbpl.cache.upkeep import verify as verify_all

    found = verify_all(url)
    for fault in found.faults:
        click.echo(fault)
    click.echo(
        f"{'damaged' if found.faults else 'sound'}: {_some(found.caches, 'cache')} and "
        f"{_some(found.segments, 'segment')} of region stores, {_some(found.bytes, 'byte')}, "
        f"{_some(len(found.faults), 'fault')}"
    )
    context.exit(DAMAGED if found.faults else 0)


@cache.command("ls")
@click.argument("url")
def ls(url: str) -> None:
    """List the caches at and below URL: of what, by which model, rows and bytes."""
    from fdbpl.cache.describe import listing

    click.echo("\n".join(listing(url)))


@cache.command()
@click.argument("url")
@click.option(
    "--out",
    type=UserPath(dir_okay=False),
    help="Draw regions into this PNG, with the model's likeliest classes and w.",
)
@click.option(
    "--count",
    type=click.IntRange(1, 200),
    default=12,
    show_default=True,
    help="Of regions to draw.",
)
@click.option(
    "--plan",
    type=UserPath(file_okay=False),
    help="Folder of the cache's plan; by default plans/NAME where caches/NAME is a part of URL.",
)
@params_option("Say where images are; only drawing reads them.")
def inspect(url: str, out: Path | None, count: int, plan: Path | None, params_path: Path) -> None:
    """Say what the cache at URL is: its models, policy, payload, tables and sizes."""
    from fdbpl.cache.cache import open_cache
    from fdbpl.cache.describe import description

    opened = open_cache(url)
    click.echo("\n".join(description(opened)))
    if out is not None:
        from fdbpl.settings.params import read_params
        from fdbpl.stages.view_cache import view_cache

        click.echo(view_cache(opened, read_params(params_path).data, url, plan, count, out))


@cache.command()
@click.argument("store")
@click.argument("caches", nargs=-1, required=True)
@click.option("--delete", is_flag=True, help="Do it; without this, only say what would be done.")
def gc(store: str, caches: tuple[str, ...], delete: bool) -> None:
    """Remove from the region store STORE what no cache at or below CACHES holds.

    Small segments are put together to large ones, written before the old ones go. Name every
    folder that holds caches in use (those there are of caches and runs): what is removed
    by mistake is encoded again when it is next wanted. Best run while nothing is being built.
    """
    from fdbpl.cache.describe import sweep_lines
    from fdbpl.cache.upkeep import held_keys, sweep

    done = sweep(store, held_keys(caches), delete=delete)
    click.echo("\n".join(sweep_lines(done, delete)))


def _some(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
