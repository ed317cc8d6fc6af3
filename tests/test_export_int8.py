"""Graphs of 8 bits: written beside the whole one, measured on pictures that did not calibrate."""

from pathlib import Path

import numpy as np
import pytest
from exported import draw_pictures
from models import COLOURS, SIZE, STUDENT, write_colours
from onnx import TensorProto, helper, numpy_helper

from fdbpl.classify.artifact import classifier_of
from fdbpl.classify.decision import Decision
from fdbpl.clip.onnx_tower import FEATURES, PIXELS
from fdbpl.serving.export.onnx_folder import export_onnx
from fdbpl.serving.export.session import logits_of, open_graph
from fdbpl.serving.model_folder import CLASSIFIER, TOWER, ModelFolder, open_model, write_model
from fdbpl.system.errors import UserError


def convolutions() -> bytes:
    """A tower of a convolution, ReLU6 and a depthwise convolution whose channels differ."""
    weights = {
        "first": np.random.default_rng(0).standard_normal((8, 3, 1, 1)),
        "each": (2.0 ** -np.arange(8)).reshape(8, 1, 1, 1) * np.ones((8, 1, 3, 3)),
        "last": np.random.default_rng(1).standard_normal((3, 8, 1, 1)),
        "low": np.array(0.0),
        "high": np.array(6.0),
    }
    constants = [
        numpy_helper.from_array(one.astype(np.float32), name) for name, one in weights.items()
    ]
    nodes = [
        helper.make_node("Conv", [PIXELS, "first"], ["a"], name="conv_first"),
        helper.make_node("Clip", ["a", "low", "high"], ["b"], name="relu6"),
        helper.make_node("Conv", ["b", "each"], ["c"], name="conv_each", group=8),
        helper.make_node("Conv", ["c", "last"], ["d"], name="conv_last"),
        helper.make_node("ReduceMean", ["d", "sides"], ["e"], name="mean", keepdims=0),
        helper.make_node("LpNormalization", ["e"], [FEATURES], name="unit", axis=1, p=2),
    ]
    sides = numpy_helper.from_array(np.array([2, 3]), "sides")
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "tower", [pixels], [features], [sides, *constants])
    opset = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    about = open_model(write_colours(tmp_path / "model")).about
    told = {"method": "zero_shot", "student": STUDENT, "class_names": list(COLOURS)}
    decision = Decision(np.eye(3, dtype=np.float32), 5.0)
    files = {TOWER: convolutions(), CLASSIFIER: classifier_of(decision, told).data}
    write_model(tmp_path / "model", about, files)
    return open_model(tmp_path / "model")


def test_eight_bits_are_near_and_their_loss_is_told(model: ModelFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines = export_onnx(model, out, draw_pictures(tmp_path / "pictures", 64), int8=True)
    assert "model.int8.onnx: of 32 pictures that did not calibrate it" in lines[1]
    assert lines[1] in (out / "README.md").read_text()
    pixels = np.random.default_rng(5).random((6, 3, SIZE, SIZE)).astype(np.float32)
    whole, small = (
        logits_of(open_graph((out / name).read_bytes()))
        for name in ("model.onnx", "model.int8.onnx")
    )
    assert np.abs(whole(pixels) - small(pixels)).max() < 0.5
    alone = np.concatenate([small(pixels[row : row + 1]) for row in range(6)])
    np.testing.assert_allclose(alone, small(pixels), atol=1e-4)  # whatever is in the batch


def test_too_few_pictures_are_refused(model: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="31 pictures, wanted at least 32"):
        export_onnx(model, tmp_path / "out", draw_pictures(tmp_path / "pictures", 31), int8=True)
    assert not (tmp_path / "out").exists()
