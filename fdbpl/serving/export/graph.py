"""A whole model as one ONNX graph: what decides is written behind the image tower, as nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fdbpl.classify.decision import Decision, Discriminant, KeyValueCache
from fdbpl.classify.projector import Projector
from fdbpl.clip.onnx_tower import FEATURES, LARGEST
from fdbpl.system.errors import UserError

LOGITS, SCORE = "logits", "score"
"""Outputs (N, C) and (N,), float32; the score is the energy log sum exp of the logits."""

PREFIX = "decision."
"""Before the names of all nodes and constants that are no part of the tower."""

OLDEST = 18
"""The version of ONNX's operators from which reductions take their axes as an input."""


class _Nodes:
    """Nodes and constants, each named for its place among them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any] | float, kind: type = np.float32) -> str:
        """Add a constant of this type; return its name."""
        name = f"{PREFIX}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output; return the output's name."""
        name = f"{PREFIX}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def give(self, value: str, name: str) -> None:
        """Give a value as the graph's output `name`, in float32."""
        self.nodes.append(
            helper.make_node("Cast", [value], [name], name=f"{PREFIX}{name}", to=TensorProto.FLOAT)
        )

    def double(self, value: str) -> str:
        """Return the name of a value in float64."""
        return self.add("Cast", value, to=TensorProto.DOUBLE)


def whole_graph(tower: bytes, decision: Decision) -> onnx.ModelProto:
    """Return the graph from `pixels` (N, 3, S, S) to `logits` (N, C) and `score` (N,).

    Args:
        tower: from pixels to unit features, as `fdbpl.clip.onnx_export.export_tower` returns it.
        decision: over C classes, all of which compete.

    Raises:
        UserError: the tower is of operators older than `OLDEST`, or the whole is too large.
    """
    size = len(tower) + sum(array.nbytes for array in decision.arrays().values())
    if size > LARGEST:
        raise UserError(
            f"the model is of {size:,} bytes, wanted at most {LARGEST:,} for an ONNX graph. "
            "Take a smaller student."
        )
    model = onnx.load_from_string(tower)
    version = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if version < OLDEST:
        raise UserError(
            f"the model's tower is of ONNX operators {version}, wanted {OLDEST} or later. "
            "Learn the model again."
        )
    nodes = _Nodes()
    logits = nodes.double(_logits(nodes, decision))
    nodes.give(logits, LOGITS)
    ones = nodes.constant(np.array([1]), np.int64)
    nodes.give(nodes.add("ReduceLogSumExp", logits, ones, keepdims=0), SCORE)
    graph = model.graph
    graph.node.extend(nodes.nodes)
    graph.initializer.extend(nodes.constants)
    batch, count = graph.output[0].type.tensor_type.shape.dim[0].dim_param, len(decision.vectors)
    del graph.output[:]
    graph.output.extend([_output(LOGITS, [batch, count]), _output(SCORE, [batch])])
    onnx.checker.check_model(model)
    return model


def _output(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _logits(nodes: _Nodes, decision: Decision) -> str:
    """Write `Decision.logits` among all classes."""
    features = FEATURES
    if decision.projection is not None:
        features = _unit(nodes, nodes.add("MatMul", features, nodes.constant(decision.projection)))
    if decision.projector is not None:
        features = _unit(nodes, _projected(nodes, decision.projector, features))
    cosines = nodes.add("MatMul", features, nodes.constant(decision.vectors.T))
    logits, is_double = nodes.add("Mul", cosines, nodes.constant(decision.scale)), False
    for part in decision.parts.values():
        if isinstance(part, Discriminant):
            if part.unseen == "silent" and not np.asarray(part.seen, bool).all():
                continue
            logits = logits if is_double else nodes.double(logits)
            judged = FEATURES if part.before_projection else features
            logits, is_double = _with_discriminant(nodes, part, logits, judged), True
        else:
            near = _near(nodes, part, features, len(decision.vectors))
            logits = nodes.add("Add", logits, nodes.double(near) if is_double else near)
    return logits


def _projected(nodes: _Nodes, projector: Projector, features: str) -> str:
    """Write a projector's two layers."""
    found = nodes.add("MatMul", features, nodes.constant(projector.first))
    found = nodes.add("Relu", nodes.add("Add", found, nodes.constant(projector.first_offset)))
    found = nodes.add("MatMul", found, nodes.constant(projector.second))
    return nodes.add("Add", found, nodes.constant(projector.second_offset))


def _unit(nodes: _Nodes, vectors: str) -> str:
    """Write `fdbpl.classify.decision.unit`."""
    axis = nodes.constant(np.array([1]), np.int64)
    length = nodes.add("ReduceL2", vectors, axis, keepdims=1)
    return nodes.add("Div", vectors, nodes.add("Max", length, nodes.constant(1e-12)))


def _with_discriminant(nodes: _Nodes, part: Discriminant, logits: str, features: str) -> str:
    """Write `Discriminant.applied` to logits in float64, in which its values are computed."""
    rows = np.asarray(part.rows, np.float64)
    weighed = nodes.add(
        "MatMul", nodes.double(features), nodes.constant(rows[:, :-1].T, np.float64)
    )
    values = nodes.add("Add", weighed, nodes.constant(rows[:, -1], np.float64))
    own = nodes.add("Mul", values, nodes.constant(part.share, np.float64))
    if part.unseen != "replaces":
        return nodes.add("Add", logits, own)
    return nodes.add("Where", nodes.constant(part.seen, np.bool_), own, logits)


def _near(nodes: _Nodes, part: KeyValueCache, features: str, classes: int) -> str:
    """Write what `KeyValueCache.applied` adds."""
    of_class = np.asarray(part.labels)[:, None] == np.arange(classes)
    cosines = nodes.add("MatMul", features, nodes.constant(part.keys.T))
    apart = nodes.add("Sub", nodes.constant(1), cosines)
    near = nodes.add("Exp", nodes.add("Mul", apart, nodes.constant(-part.beta)))
    summed = nodes.add("MatMul", near, nodes.constant(of_class))
    return nodes.add("Mul", summed, nodes.constant(part.alpha))
