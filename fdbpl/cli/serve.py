"""The command `fdbpl serve`."""

import os
import socket
from pathlib import Path

import click

from fdbpl.cli.options import UserPath
from fdbpl.system.address import bound
from fdbpl.system.errors import UserError

TOKEN = "FDBPL_TOKEN"


@click.command()
@click.argument("model", type=UserPath())
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--allow-host", "names", multiple=True, help="A name it is asked under; * for any.")
@click.option(
    "--token-file",
    type=UserPath(dir_okay=False),
    help=f"Holds a token that requests must show; or set {TOKEN}.",
)
@click.option(
    "--max-mb", type=click.IntRange(1), default=20, show_default=True, help="Of a picture."
)
@click.option("--queue", type=click.IntRange(1), default=256, show_default=True, help="That wait.")
@click.option("--threads", type=click.IntRange(1), help="Batches at once. By default one a core.")
def serve(
    model: Path,
    host: str,
    port: int,
    names: tuple[str, ...],
    token_file: Path | None,
    max_mb: int,
    queue: int,
    threads: int | None,
) -> None:
    """Serve MODEL: a page to drop pictures on, and POST /predict for programs.

    Listens on this machine alone unless --host says otherwise. Programs send the bytes of a
    picture, or a form of several, and get the objects of fdbpl predict --json. /healthz and
    /metrics tell how it is; /openapi.json describes it.
    """
    import uvicorn

    from fdbpl.serving.guard import hosts_of
    from fdbpl.serving.predictor import load_predictor
    from fdbpl.serving.server import Settings, create_app

    count = threads or os.cpu_count() or 1
    settings = Settings(
        name=model.resolve().name,
        hosts=(*hosts_of(host), *names),
        token=_token(token_file),
        picture_bytes=max_mb * 1_000_000,
        room=queue,
        workers=count,
    )
    # a thread a batch: several batches at once leave no core waiting for another
    app = create_app(load_predictor(model, threads=1), settings)
    config = uvicorn.Config(app, host, port, log_level="warning", server_header=False)
    listening = bound(host, port)  # before the address is told, which --port 0 leaves open
    # asyncio does not do this for a socket that it is given, and answers then wait for 40 ms
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"{settings.name}: http://{shown}:{listening.getsockname()[1]}/   end with Ctrl+C")
    uvicorn.Server(config).run([listening])


def _token(file: Path | None) -> str | None:
    """Read the token from its file or from the environment, never from the command line."""
    if file is None:
        return os.environ.get(TOKEN) or None
    found = file.read_text(encoding="utf-8").strip()
    if not found:
        raise UserError(f"{file}: empty, wanted a token.")
    return found
