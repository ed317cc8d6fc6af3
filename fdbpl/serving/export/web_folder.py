"""A model as a page that tells pictures in the browser, from any static server."""

from pathlib import Path

from fdbpl.serving.export.onnx_folder import write_graph
from fdbpl.serving.export.ort_web import OrtWeb, ort_web
from fdbpl.serving.export.place import README, export_folder
from fdbpl.serving.model_folder import About, ModelFolder
from fdbpl.serving.predictor import predictor_of

PAGE = Path(__file__).parents[1] / "page"
SHARED = ("index.html", "answers.js", "style.css")
"""Files of the page of `fdbpl serve` that this one has, too."""

SCRIPTS = Path(__file__).parent / "web"
RUNTIME = "ort"


def export_web(
    model: ModelFolder, out: Path, pictures: Path | None = None, runtime: Path | None = None
) -> list[str]:
    """Write a model as a page.

    Args:
        model: that was opened.
        out: the folder to write.
        pictures: a folder of them to try the graph on; pixels at random without one.
        runtime: a folder of the npm package onnxruntime-web; without one npm fetches it.

    Returns:
        What there is to say of it, in lines.

    Raises:
        UserError: see `ort_web`, `write_graph` and `export_folder`.
    """
    found = ort_web(runtime)
    with export_folder(out) as folder:
        _, line = write_graph(folder, model, predictor_of(model), pictures)
        for source in (*(PAGE / name for name in SHARED), *sorted(SCRIPTS.glob("*.js"))):
            (folder / source.name).write_bytes(source.read_bytes())
        (folder / RUNTIME).mkdir()
        for name, data in found.files.items():
            (folder / RUNTIME / name).write_bytes(data)
        (folder / README).write_text(_readme(model.about, found, line), encoding="utf-8")
    size = sum(map(len, found.files.values()))
    return [line, f"{RUNTIME}/: ONNX Runtime Web {found.version}, {size / 1e6:.1f} MB"]


def _readme(about: About, found: OrtWeb, line: str) -> str:
    return f"""\
# {about.name}

A page that tells pictures apart, {len(about.class_names)} classes, in the browser: no picture
leaves it, and it asks nothing of anybody but the server it came from. Any static server will do:

    python -m http.server --bind 127.0.0.1

then open http://127.0.0.1:8000. A file opened without a server will not do, since browsers keep
such files from reading each other.

- {line}

`{RUNTIME}/` is ONNX Runtime Web {found.version}, copyright (c) Microsoft Corporation, under the
MIT License: https://github.com/microsoft/onnxruntime
"""
