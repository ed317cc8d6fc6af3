"""An exported graph, run by ONNX Runtime on the CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fdbpl.clip.onnx_tower import PIXELS
from fdbpl.serving.export.graph import LOGITS


def open_graph(graph: bytes, threads: int = 0) -> Any:
    """Return a session of a graph; 0 threads stand for one a core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def logits_of(session: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the function from pixels (n, 3, S, S) to logits (n, C) that a session computes."""

    def logits(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run([LOGITS], {PIXELS: pixels})[0]
        return found

    return logits
