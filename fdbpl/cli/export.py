"""The command `fdbpl export`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fdbpl.cli.options import UserPath, model_option
from fdbpl.system.errors import UserError

if TYPE_CHECKING:
    from fdbpl.clip.params import ModelParams

ONNX, OPEN_CLIP, WEB = "onnx", "open_clip", "web"
_THEN = {
    ONNX: "Then: read {out}/README.md",
    OPEN_CLIP: "Then: python {out}/classify.py PICTURES",
    WEB: "Then: python -m http.server --bind 127.0.0.1 --directory {out}",
}


@click.command()
@click.argument("model", type=UserPath())
@click.option("--to", type=click.Choice([ONNX, OPEN_CLIP, WEB]), required=True)
@click.option("--out", type=UserPath(), required=True, help="The folder to write.")
@click.option(
    "--pictures",
    type=UserPath(),
    help="A folder of pictures to try the export on; by default some are made at random.",
)
@click.option(
    "--int8", is_flag=True, help="With onnx: a graph of 8 bits too, calibrated on --pictures."
)
@model_option("student", "The student, where its weights were a file; only open_clip needs it.")
@click.option(
    "--ort-web",
    type=UserPath(),
    help="With web: a folder of the npm package onnxruntime-web; by default npm fetches it.",
)
def export(
    model: Path,
    to: str,
    out: Path,
    pictures: Path | None,
    int8: bool,
    student: "ModelParams | None",
    ort_web: Path | None,
) -> None:
    """Write MODEL, which fdbpl learn wrote, for programs that know nothing of fdbpl.

    onnx is one graph from pixels to logits; open_clip are weights as open_clip reads them, with a
    short script; web is a page that tells pictures in the browser, from any static server. Each is
    tried on 64 pictures before it stays, and must decide as fdbpl predict does.
    """
    from fdbpl.serving.export.place import require_export_place
    from fdbpl.serving.model_folder import open_model

    for given, name, where in (
        (int8, "--int8", ONNX),
        (ort_web, "--ort-web", WEB),
        (student, "--student", OPEN_CLIP),
    ):
        if given and to != where:
            raise UserError(f"{name} goes with --to {where}, and --to is {to}. Leave it out.")
    require_export_place(out)
    opened = open_model(model)
    if to == ONNX:
        from fdbpl.serving.export.onnx_folder import export_onnx

        lines = export_onnx(opened, out, pictures, int8=int8)
    elif to == OPEN_CLIP:
        from fdbpl.serving.export.open_clip_folder import export_open_clip

        lines = export_open_clip(opened, out, pictures, student)
    else:
        from fdbpl.serving.export.web_folder import export_web

        lines = export_web(opened, out, pictures, ort_web)
    click.echo("\n".join(lines))
    click.echo(f"written: {out}. {_THEN[to].format(out=out)}")
