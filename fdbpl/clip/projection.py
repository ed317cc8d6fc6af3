"""The last projection of an image tower: what it is, and the tower's features before it.

A feature is unit(h W) of the features h before the projection W. Without a bias that is unit(u W)
of u = unit(h), too: brought to unit length, h loses nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from fdbpl.clip.model import ClipModel
from fdbpl.system.errors import UserError


def shows_hidden(clip: ClipModel) -> bool:
    """Tell whether there are features before a last projection, as `last_projection` wants it."""
    return not _why_not(clip.network.get_submodule("visual"))


def last_projection(clip: ClipModel) -> Tensor:
    """Return a copy of W (E, D): from features before the projection to features.

    Raises:
        UserError: the image tower does not end in a projection, or in one with a bias.
    """
    tower: Any = clip.network.get_submodule("visual")
    why = _why_not(tower)
    if why:
        raise UserError(
            f"{clip.identity['architecture']} cannot show its features before the last projection: "
            f"{why}. Methods that learn this projection, such as prolip, need an image tower that "
            "ends in one without a bias: leave them out of methods, or take another student."
        )
    found: Tensor = tower.proj if isinstance(tower, VisionTransformer) else tower.head.proj.weight.T
    return found.detach().clone()


@contextmanager
def without_projection(clip: ClipModel) -> Iterator[None]:
    """Run the image tower of `last_projection` without it, in the block."""
    tower: Any = clip.network.get_submodule("visual")
    place = tower if isinstance(tower, VisionTransformer) else tower.head
    projection, nothing = place.proj, None if place is tower else nn.Identity()
    place.proj = nothing
    try:
        yield
    finally:
        place.proj = projection


def _why_not(tower: nn.Module) -> str | None:
    """Say why a tower does not end in a bias-free projection, or None if it does."""
    if isinstance(tower, VisionTransformer):
        return "it ends without a projection" if tower.proj is None else None
    if not isinstance(tower, TimmModel):
        return f"a {type(tower).__name__} ends in attention that pools, whose projection has a bias"
    last: Any = list(tower.head.children())[-1:]
    if not (last and isinstance(last[0], nn.Linear)):
        return "its timm tower has no linear projection (timm_proj: linear)"
    return None if last[0].bias is None else "its last projection has a bias"
