"""A graph with weights and activations of 8 bits, and what that loses."""

import contextlib
import io
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fdbpl.clip.onnx_tower import PIXELS
from fdbpl.serving.export.check import difference, in_batches, pixels_of, some_pictures
from fdbpl.serving.export.graph import PREFIX
from fdbpl.serving.export.session import logits_of, open_graph
from fdbpl.serving.predictor import Predictor
from fdbpl.system.errors import UserError

MOST, LEAST = 256, 32
"""Pictures taken of a folder: every second calibrates, the others measure."""

AT_ONCE = 8
RUNS = 15

# Clip and Relu count because they set the range of the convolution before them: with the range
# from before a ReLU6, a quarter of the small student's answers became others.
_KINDS = ["Conv", "Clip", "Relu", "Gemm", "MatMul"]


@dataclass(frozen=True)
class Loss:
    """What 8 bits lose and gain, on pictures that did not calibrate them.

    Attributes:
        pictures: how many.
        same: share of them with the same likeliest class.
        largest: difference of a logit.
        speed: times as fast, a picture at a time by one thread of this machine.
        size: bytes of the graph.
        whole_size: bytes of the graph in float32.
    """

    pictures: int
    same: float
    largest: float
    speed: float
    size: int
    whole_size: int

    def line(self) -> str:
        """Say it."""
        return (
            f"of {self.pictures} pictures that did not calibrate it, {self.same:.1%} have the same "
            f"likeliest class, and logits differ by up to {self.largest:.2f}; {self.speed:.1f} "
            f"times as fast by one thread of this machine, {self.size / 1e6:.1f} MB in place of "
            f"{self.whole_size / 1e6:.1f} MB"
        )


def write_int8(
    graph: onnx.ModelProto, path: Path, predictor: Predictor, folder: Path | None
) -> Loss:
    """Write a graph of 8 bits, calibrated on every second picture of a folder; measure the rest.

    Scales are fixed beforehand (static), so that no answer depends on what else is in the batch,
    and weights have one for each channel: those of a depthwise convolution differ too much to share
    one. What decides between the classes stays in float.

    Args:
        graph: of `fdbpl.serving.export.graph.whole_graph`.
        path: to write.
        predictor: of the same model.
        folder: of pictures.

    Raises:
        UserError: no folder is given, or it holds too few pictures.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if folder is None:
        raise UserError(
            "--int8 needs --pictures FOLDER: pictures as the model will see, to calibrate it and "
            "to measure what it loses."
        )
    paths = some_pictures(folder, MOST)
    if len(paths) < LEAST:
        raise UserError(
            f"{folder}: {len(paths)} pictures, wanted at least {LEAST} for --int8: half of them "
            "calibrate, the others measure."
        )
    whole = graph.SerializeToString()
    with _quiet():
        quantize_static(
            onnx.ModelProto.FromString(whole),  # it changes what it is given
            path,
            _Reader(pixels_of(predictor, paths[::2])),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=_KINDS,
            nodes_to_exclude=[one.name for one in graph.graph.node if one.name.startswith(PREFIX)],
        )
    return _measured(whole, path.read_bytes(), pixels_of(predictor, paths[1::2]))


class _Reader:
    """Gives pixels to the calibration, some at once."""

    def __init__(self, pixels: NDArray[np.float32]) -> None:
        self._rest = iter(pixels[at : at + AT_ONCE] for at in range(0, len(pixels), AT_ONCE))

    def get_next(self) -> dict[str, Any] | None:
        """Return what the graph takes next; None when there is no more."""
        pixels = next(self._rest, None)
        return None if pixels is None else {PIXELS: pixels}


def _measured(whole: bytes, small: bytes, pixels: NDArray[np.float32]) -> Loss:
    sessions = [open_graph(graph, threads=1) for graph in (whole, small)]
    wanted, found = (in_batches(logits_of(one), pixels, AT_ONCE) for one in sessions)
    differs = difference(wanted, found)
    seconds = [_seconds(one, pixels[:1]) for one in sessions]
    return Loss(
        pictures=len(pixels),
        same=differs.same,
        largest=differs.largest,
        speed=seconds[0] / seconds[1],
        size=len(small),
        whole_size=len(whole),
    )


def _seconds(session: Any, pixels: NDArray[np.float32]) -> float:
    """Return the least time of a picture, which other processes disturb least."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        session.run(None, {PIXELS: pixels})
        times.append(time.perf_counter() - start)
    return min(times)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice from the user: its optional step ahead changes nothing here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
