"""An image tower as an ONNX graph, run on the CPU by ONNX Runtime: no torch is loaded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PIXELS, FEATURES = "pixels", "features"
"""Input (N, 3, S, S), normalised, and output (N, D) of unit rows."""

LARGEST = 2**31 - 1
"""Bytes of an ONNX graph with its weights inside."""


class OnnxTower:
    """An image tower that takes batches of any size.

    Args:
        graph: as `fdbpl.clip.onnx_export.export_tower` returns it.
        threads: that share a batch; by default one a core.

    Raises:
        Exception: the bytes are no such graph (ONNX Runtime has types of its own).
    """

    def __init__(self, graph: bytes, threads: int | None = None) -> None:
        import onnxruntime  # only whoever runs a tower waits for it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # threads that wait for work shall sleep: other processes have a use for the core
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self.image_size = int(self._session.get_inputs()[0].shape[-1])
        self.width = int(self._session.get_outputs()[0].shape[-1])

    def __call__(self, pixels: Floats) -> Floats:
        """Return the unit features (N, D) of normalised pixels (N, 3, S, S)."""
        found: Floats = self._session.run([FEATURES], {PIXELS: pixels})[0]
        return found
