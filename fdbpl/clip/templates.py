"""The generic templates of the zero-shot ensemble, and which of them a text tower has room for."""

from collections.abc import Sequence

import open_clip

from fdbpl.clip.model import ClipModel
from fdbpl.clip.tokens import require_room
from fdbpl.system.errors import UserError

ENSEMBLE: tuple[str, ...] = tuple(fill("{}") for fill in open_clip.SIMPLE_IMAGENET_TEMPLATES)
"""The seven templates that CLIP's authors found best together on ImageNet."""


def with_room(clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return the templates under which every class name fits into the text tower.

    One that is too long for any class is left out for all, so that all classes are averages of
    the same templates.
    """
    return [template for template in templates if _has_room(clip, class_names, template)]


def _has_room(clip: ClipModel, class_names: Sequence[str], template: str) -> bool:
    try:
        require_room(clip, class_names, [template.format(name) for name in class_names])
    except UserError:
        return False
    return True
