"""Encoding images: pixels of a region in, one L2-normalised feature out."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cached_property
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fdbpl.clip.model import ClipModel
from fdbpl.clip.onnx_tower import OnnxTower
from fdbpl.clip.preprocessing import REGION_VIEW, TEST_VIEWS
from fdbpl.clip.projection import last_projection, without_projection
from fdbpl.clip.prompted_image import PromptedImage
from fdbpl.clip.shared_prefix import Precision
from fdbpl.regions.boxes import Box
from fdbpl.system.errors import UserError

Floats = NDArray[np.float32]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ImageEncoder:
    """The frozen image tower of a CLIP model, run in batches of one constant shape.

    A short batch is padded, because kernels may change with the batch's shape: a feature then
    never depends on its neighbours. On a CPU, towers of depthwise convolutions run in ONNX Runtime,
    which takes a third of torch's time or less (`bench.predict`).

    Args:
        clip: whose image tower it is.
        precision: "fp32", "bf16" or "fp16" of its products.
        batch_size: images of every batch.
        device: where it runs.
        before_projection: leave its last projection out: the features are of another space, and
            of another width E.
        before_layer: end before this layer, from 1: the features are the activations it is given,
            (1 + N) x W numbers in a row, not of unit length. Where tokens are learned from there
            on, nothing below depends on them.

    Raises:
        UserError: this tower's last projection cannot be left out, or it has no such layer.
    """

    def __init__(
        self,
        clip: ClipModel,
        *,
        precision: str,
        batch_size: int,
        device: str = "cpu",
        before_projection: bool = False,
        before_layer: int = 0,
    ):
        self.clip = clip
        self.batch_size = batch_size
        self.pixels_of = clip.preprocessing
        self._width = last_projection(clip).shape[0] if before_projection else None
        self._device = torch.device(device)
        self._autocast = _AUTOCAST.get(precision)
        self._tower = clip.network.get_submodule("visual").to(self._device)
        on_cpu = self._device.type == "cpu"
        suits_onnx = on_cpu and precision == "fp32" and _is_depthwise(self._tower)
        graph = _onnx_tower(clip, before_projection) if suits_onnx else None
        self._run: Callable[[Floats], Floats] = graph or self._by_torch
        self._below: PromptedImage | None = None
        if before_layer:
            how: Precision = "bf16" if precision == "bf16" else "fp32"
            self._below, self._run = (
                PromptedImage(clip, first=before_layer, precision=how),
                self._to_layer,
            )
        spec = self.pixels_of.spec()
        spec["test_view"] = TEST_VIEWS[spec.pop("resize_mode")]
        self.fingerprint: Mapping[str, object] = {  # all that decides a feature beside the region
            **clip.identity,
            **spec,
            "region_view": REGION_VIEW,
            "precision": precision,
            "numerics": _numerics_class(self._device, batch_size, graph is not None),
            **({"output": "before projection"} if before_projection else {}),
            **({"output": f"before layer {before_layer}"} if before_layer else {}),
        }

    @cached_property
    def dim(self) -> int:
        """Width of a feature."""
        if self._width is not None:
            return self._width
        size = self.clip.image_size
        if self._below is not None:
            return self._to_layer(np.zeros((1, 3, size, size), np.float32)).shape[1]
        with torch.inference_mode():  # of one image: a whole batch would take long
            return int(self._tower(torch.zeros(1, 3, size, size, device=self._device)).shape[1])

    def pixels(self, image: Image.Image, box: Box | None, flip: bool = False) -> Floats:
        """Return the normalised pixels (3, S, S) of a region; see `Preprocessing.pixels`."""
        return self.pixels_of.pixels(image, box, flip)

    def encode(self, pixels: Floats) -> Floats:
        """Encode (n, 3, S, S) normalised pixels, n <= batch_size, to (n, D) unit features.

        Or to activations (n, (1 + N) W).
        """
        batch = np.zeros((self.batch_size, *pixels.shape[1:]), np.float32)
        batch[: len(pixels)] = pixels
        return self._run(batch)[: len(pixels)]

    def _by_torch(self, batch: Floats) -> Floats:
        images = torch.from_numpy(batch).to(self._device)
        with (
            nullcontext() if self._width is None else without_projection(self.clip),
            torch.inference_mode(),
            torch.autocast(
                self._device.type, dtype=self._autocast, enabled=self._autocast is not None
            ),
        ):
            features = self._tower(images)
        found: Floats = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
        return found

    def _to_layer(self, batch: Floats) -> Floats:
        assert self._below is not None
        images = torch.from_numpy(batch).to(self._device)
        found: Floats = self._below.activations(images).flatten(1).float().cpu().numpy()
        return found


def _onnx_tower(clip: ClipModel, before_projection: bool) -> OnnxTower | None:
    """Return the tower as a graph; None where it cannot be written as one, and torch runs it."""
    from fdbpl.clip.onnx_export import export_tower  # loads what only exporting needs

    try:
        graph = export_tower(clip, before_projection=before_projection)
    except UserError:
        return None
    return OnnxTower(graph, threads=torch.get_num_threads())


def _is_depthwise(tower: torch.nn.Module) -> bool:
    return any(
        isinstance(one, torch.nn.Conv2d) and 1 < one.groups == one.in_channels
        for one in tower.modules()
    )


def _numerics_class(device: torch.device, batch_size: int, runs_onnx: bool) -> str:
    if device.type == "cpu":
        kind = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    else:
        kind = torch.cuda.get_device_name(device)
    runtime = "onnxruntime" if runs_onnx else "torch"
    return f"{kind}, batch {batch_size}, {runtime} {'.'.join(version(runtime).split('.')[:2])}"
