"""The commands `fdbpl push` and `fdbpl pull`: models on a hub."""

import sys
from pathlib import Path

import click

from fdbpl.cli.options import UserPath

_ADDRESS = "hf://OWNER/NAME[@REVISION]"


@click.command()
@click.argument("model", type=UserPath())
@click.argument("address", metavar=_ADDRESS)
@click.option("--public", is_flag=True, help="Everybody may see it; by default you alone.")
def push(model: Path, address: str, public: bool) -> None:
    """Upload MODEL to the Hugging Face hub, for others to pull.

    It is checked first, and uploaded in one commit. A repository or branch that is not there is
    made. Log in before: hf auth login, or HF_TOKEN. Another hub may be named by HF_ENDPOINT.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from fdbpl.serving.hub import Address, upload_of

    if not sys.stderr.isatty():
        disable_progress_bars()  # those of an upload look for no terminal themselves
    place = Address.of(address)
    upload = upload_of(model, place, public=public)
    click.echo("\n".join(upload.lines()))
    commit = upload.send()
    click.echo(
        f"uploaded: {upload.url}, commit {commit[:12]}. Then, elsewhere: fdbpl pull {place} --out "
        f"{place.name.split('/')[1]}"
    )


@click.command()
@click.argument("address", metavar=_ADDRESS)
@click.option("--out", type=UserPath(), required=True, help="The model to write.")
def pull(address: str, out: Path) -> None:
    """Download a model that fdbpl push uploaded, and check it.

    It takes the place of a model at --out when it is whole. Of a private one log in before: hf auth
    login, or HF_TOKEN. Another hub may be named by HF_ENDPOINT.
    """
    from fdbpl.serving import hub

    place = hub.Address.of(address)
    done = hub.pull(place, out)
    click.echo(
        f"written: {out}, {done.size / 1e6:.0f} MB, from {place}, commit {done.commit[:12]}. "
        f"Then: fdbpl predict {out} PICTURES"
    )
