"""A model as one ONNX graph, in a folder that says how it is used."""

from pathlib import Path

import onnx

from fdbpl.serving.export.check import require_equal, tried_pixels
from fdbpl.serving.export.graph import whole_graph
from fdbpl.serving.export.int8 import write_int8
from fdbpl.serving.export.place import README, export_folder, write_labels
from fdbpl.serving.export.session import logits_of, open_graph
from fdbpl.serving.model_folder import TOWER, About, ModelFolder
from fdbpl.serving.predictor import Predictor, predictor_of

MODEL, INT8 = "model.onnx", "model.int8.onnx"


def export_onnx(
    model: ModelFolder, out: Path, pictures: Path | None = None, *, int8: bool = False
) -> list[str]:
    """Write a model as one ONNX graph.

    Args:
        model: that was opened.
        out: the folder to write.
        pictures: a folder of them to try the graph on; pixels at random without one.
        int8: write a graph of 8 bits as well.

    Returns:
        What there is to say of it, in lines.

    Raises:
        UserError: there is something else at `out`, or the graph decides otherwise than the model.
    """
    predictor = predictor_of(model)
    with export_folder(out) as folder:
        graph, line = write_graph(folder, model, predictor, pictures)
        lines = [line]
        if int8:
            loss = write_int8(graph, folder / INT8, predictor, pictures)
            lines.append(f"{INT8}: {loss.line()}")
        (folder / README).write_text(_readme(model.about, lines), encoding="utf-8")
    return lines


def write_graph(
    folder: Path, model: ModelFolder, predictor: Predictor, pictures: Path | None
) -> tuple[onnx.ModelProto, str]:
    """Write the graph with its labels and pre-processing, checked; return it and what to say.

    Raises:
        UserError: it decides otherwise than the model.
    """
    graph = whole_graph(model.read(TOWER), predictor.decision)
    data, pixels = graph.SerializeToString(deterministic=True), tried_pixels(predictor, pictures)
    largest = require_equal(predictor, logits_of(open_graph(data)), pixels, MODEL)
    (folder / MODEL).write_bytes(data)
    write_labels(folder, model.about)
    kind = "pictures" if pictures is not None else "random pictures"
    return graph, (
        f"{MODEL}: {len(data) / 1e6:.1f} MB; of {len(pixels)} {kind} the same likeliest class as "
        f"by fdbpl predict, logits within {largest:.1e}, whatever else is in the batch"
    )


_RESIZE = {
    "shortest": """\
short = min(image.size)
image = image.resize([int(size * side / short) for side in image.size], {filter})
left, top = (round((side - size) / 2) for side in image.size)
image = image.crop((left, top, left + size, top + size))""",
    "squash": "image = image.resize((size, size), {filter})",
}


def _readme(about: About, lines: list[str]) -> str:
    how = about.preprocessing
    by = f"Image.Resampling.{how['interpolation'].upper()}"
    measured = "\n".join(f"- {line}" for line in lines)
    return f"""\
# {about.name}

A classifier of {len(about.class_names)} classes as one ONNX graph: from `pixels` (N, 3, \
{how["image_size"]}, {how["image_size"]}) to `logits` (N, C) and `score` (N). `preprocessing.json` \
says in words how a picture is prepared and an answer is read.

{measured}

With onnxruntime, numpy and pillow:

```python
import json, numpy as np, onnxruntime
from PIL import Image, ImageOps

labels, about = json.load(open("labels.json")), json.load(open("preprocessing.json"))
size, image = about["image_size"], ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
{_RESIZE[how["resize_mode"]].format(filter=by)}
pixels = (np.asarray(image) / 255 - about["mean"]) / about["std"]
pixels = pixels.transpose(2, 0, 1)[None].astype(np.float32)
logits, score = onnxruntime.InferenceSession("model.onnx").run(None, {{"pixels": pixels}})
shares = np.exp((logits[0] - logits[0].max()) / about["temperature"])
print(labels[shares.argmax()], shares.max() / shares.sum(), score[0] >= about["thresholds"]["95"])
```
"""
