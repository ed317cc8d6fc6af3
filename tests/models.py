"""A small model, written without torch: its tower averages colours, so colours are its classes."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fdbpl.classify.artifact import classifier_of
from fdbpl.classify.decision import Decision
from fdbpl.clip.onnx_tower import FEATURES, PIXELS
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.serving.model_folder import CARD, CLASSIFIER, TOWER, About, write_model

COLOURS = ("red", "green", "blue")
SIZE = 16
STUDENT = {"architecture": "colours", "weights": "none"}
CARD_TEXT = b"---\nlibrary_name: fdbpl\n---\n\n# colours\n"


def write_colours(path: Path, seed: int = 0) -> Path:
    """Write a model of three classes; another seed, another model."""
    decision = Decision(np.eye(3, dtype=np.float32), scale=10.0 + seed)
    about = {"method": "zero_shot", "student": STUDENT, "class_names": list(COLOURS)}
    model = About(
        fdbpl="0",
        name=f"colours {seed}",
        method="zero_shot",
        title="zero-shot",
        class_names=list(COLOURS),
        template="a {} picture.",
        student=STUDENT,
        weights="none",
        teacher=STUDENT,
        preprocessing=Preprocessing(SIZE, (0, 0, 0), (1, 1, 1), "bicubic", "squash").spec(),
        temperature=1.0,
        thresholds={90: 9.0, 95: 8.0, 99: 7.0},
        made={},
        measured={},
    )
    files = {TOWER: tower(), CLASSIFIER: classifier_of(decision, about).data, CARD: CARD_TEXT}
    write_model(path, model, files)
    return path


def tower() -> bytes:
    """An ONNX graph from pixels (N, 3, S, S) to the mean colour (N, 3) at unit length."""
    sides = numpy_helper.from_array(np.array([2, 3]), "sides")
    nodes = [
        helper.make_node("ReduceMean", [PIXELS, "sides"], ["mean"], keepdims=0),
        helper.make_node("LpNormalization", ["mean"], [FEATURES], axis=1, p=2),
    ]
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", 3])
    about = 2000 * "."  # so that a hub takes it for a large file
    graph = helper.make_graph(nodes, "colours", [pixels], [features], [sides], doc_string=about)
    opset = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
