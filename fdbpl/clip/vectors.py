"""Class vectors: names under hand-written templates or learned contexts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray

from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import prompted_text
from fdbpl.clip.templates import ENSEMBLE, with_room
from fdbpl.clip.tokens import require_room, tokenize_prompts
from fdbpl.data.dataset import GENERIC_NEGATIVE, GENERIC_TEMPLATE
from fdbpl.data.params import TEMPLATE, has_one_gap
from fdbpl.system.errors import UserError

MEMORY_MB = 4096  # for what a pass over many classes holds

Floats = NDArray[np.floating[Any]]


def template_vectors(
    clip: ClipModel, class_names: Sequence[str], *templates: str
) -> NDArray[np.float32]:
    """Return the zero-shot classifier of one or several templates, (C, D), as open_clip's own.

    A class's unit vector is the mean of its unit vectors under every template, renormalised.

    Raises:
        UserError: a template without its one {}, or a class name too long for the text tower.
    """
    for template in templates:
        if not has_one_gap(template):
            raise UserError(f"template {template!r}: wanted {TEMPLATE}.")
        require_room(clip, class_names, [template.format(name) for name in class_names])
    vectors = open_clip.build_zero_shot_classifier(
        clip.network,
        clip.tokenizer,
        list(class_names),
        list(templates),
        num_classes_per_batch=64,
        device=clip.text_device,
    )
    return vectors.T.contiguous().cpu().numpy()


def hand_written_vectors(
    clip: ClipModel, class_names: Sequence[str], template: str
) -> dict[str, NDArray[np.float32]]:
    """Return the class vectors (C, D) of every hand-written prompt that a method may ask for.

    By name: "template" the dataset's own, "generic" and "negative" a photo of a class and of no
    class, "ensemble" of the dataset's own and the generic ones in which every name has room.
    """
    ensemble = [
        template,
        *(one for one in with_room(clip, class_names, ENSEMBLE) if one != template),
    ]
    prompts = {
        "template": [template],
        "generic": [GENERIC_TEMPLATE],
        "ensemble": ensemble,
        "negative": [GENERIC_NEGATIVE],
    }
    return {name: template_vectors(clip, class_names, *these) for name, these in prompts.items()}


def class_vectors(
    clip: ClipModel, contexts: Floats, class_names: Sequence[str]
) -> NDArray[np.float32]:
    """Return the unit vectors (K, C, D) of any class list under contexts (K, M, W).

    Or under deep ones (K, J, M, W).
    """
    words = " ".join(["x"] * contexts.shape[-2])  # a letter is a token of every CLIP's tokenizer
    with torch.inference_mode():
        tokens = tokenize_prompts(clip, words, tuple(class_names))
        encoder = prompted_text(clip.text_tower, tokens, memory_mb=MEMORY_MB)
        found = encoder(torch.from_numpy(np.asarray(contexts)).to(clip.text_device))
    return found.cpu().numpy()
