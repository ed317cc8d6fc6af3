"""Writing the image tower of a CLIP model as an ONNX graph, the same bytes for the same weights."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fdbpl.classify.decision import ImagePrompts
from fdbpl.clip.model import ClipModel, state_digest
from fdbpl.clip.onnx_tower import FEATURES, LARGEST, PIXELS
from fdbpl.clip.plain_prompted import PlainPrompted
from fdbpl.clip.projection import without_projection
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256
from fdbpl.system.kept import kept


class _UnitFeatures(nn.Module):
    """The tower and what is done to every feature."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """Return unit features (N, D) of pixels (N, 3, S, S)."""
        return nn.functional.normalize(self.tower(pixels), dim=-1)


def export_tower(
    clip: ClipModel, *, before_projection: bool = False, prompts: ImagePrompts | None = None
) -> bytes:
    """Return the image tower as an ONNX graph with its weights inside, written once (`kept`).

    Args:
        clip: whose image tower it is, in fp32.
        before_projection: leave its last projection out.
        prompts: learned tokens, which stand in the graph then.

    Raises:
        UserError: torch cannot express this tower as a graph, or it is of more than 2 GiB.
    """
    tower = clip.network.get_submodule("visual")
    if prompts is not None:
        return _export(clip, PlainPrompted(tower, prompts))
    weights = state_digest(tower.state_dict())
    by = [version(one) for one in ("torch", "onnx", "onnxscript", "timm", "open_clip_torch")]
    code = sha256(Path(__file__).read_bytes())
    decides = [dict(clip.identity), clip.image_size, weights, before_projection, by, code]

    def export() -> bytes:
        with without_projection(clip) if before_projection else nullcontext():
            return _export(clip, tower)

    return kept(decides, export)


def _export(clip: ClipModel, tower: nn.Module) -> bytes:
    pixels = torch.zeros(2, 3, clip.image_size, clip.image_size)
    batch = {PIXELS: {0: torch.export.Dim("batch", min=1, max=2**16)}}
    size = sum(one.numel() * one.element_size() for one in tower.state_dict().values())
    if size > LARGEST:
        raise UserError(
            f"{clip.identity['architecture']}: its image tower is of {size:,} bytes, wanted at "
            f"most {LARGEST:,} for an ONNX graph. Take a smaller student."
        )
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                _UnitFeatures(tower).eval(),
                (pixels,),
                dynamo=True,
                input_names=[PIXELS],
                output_names=[FEATURES],
                dynamic_shapes=batch,
                optimize=True,
            )
    except Exception as error:  # what an exporter raises depends on where it gave up
        raise UserError(
            f"{clip.identity['architecture']}: its image tower cannot be written as an ONNX graph "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Take another student."
        ) from error
    return _without_traces(program.model_proto)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks from the user: errors come as exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _without_traces(model: Any) -> bytes:
    """Return a graph's bytes without the notes of where in which file each node came from."""
    model.ClearField("metadata_props")
    model.ClearField("producer_version")
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")
    data: bytes = model.SerializeToString(deterministic=True)
    return data
