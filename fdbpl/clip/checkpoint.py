"""Contexts from checkpoints of the CoOp family, read as plain weights.

A checkpoint of Dassl, such as `prompt_learner/model.pth.tar-50`, holds `state_dict` beside the
epoch, the optimiser's state and its schedule. CoOp's state is `ctx`, the context, and two buffers
that say what stands around it, `token_prefix` and `token_suffix`. KgCoOp's and ProGrad's are the
same; what holds more is another method's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.clip.weights_file import read_weights, shown
from fdbpl.system.errors import UserError

BUFFERS = ("token_prefix", "token_suffix")
CLOSE = 1e-4
"""CoOp trains in half precision: how far, beside a thousandth, its copy of an embedding may be."""


@dataclass(frozen=True)
class LearnedElsewhere:
    """A context (M, W) in fp32, the SHA-256 of its file, how many classes it was learned on.

    `classes` is None where the checkpoint does not tell.
    """

    context: Tensor
    digest: str
    classes: int | None


def read_checkpoint(path: Path, clip: ClipModel, class_names: Sequence[str]) -> LearnedElsewhere:
    """Read the context of a checkpoint, and see that it is of this student.

    Args:
        path: of the checkpoint.
        clip: the student.
        class_names: what it shall stand before.

    Raises:
        UserError: there is no such file; it holds anything but plain weights; it has no context,
            one for each class, or other learned tensors; or the context is of another width or
            text tower, or has no room, or is not finite.
    """
    state = read_weights(path, str(path), ("ctx", *BUFFERS))
    if "ctx" not in state:
        raise UserError(
            f"{path}: no tensor 'ctx' among {shown(state)}. Wanted a checkpoint of CoOp's kind."
        )
    others = sorted(set(state) - {"ctx", *BUFFERS})
    if others:
        raise UserError(
            f"{path}: holds {shown(others)} beside 'ctx'. Wanted a method that learns a context "
            "alone, such as CoOp or KgCoOp."
        )
    context = state["ctx"]
    if context.ndim == 3:
        raise UserError(
            f"{path}: 'ctx' has shape {list(context.shape)}, a context for each of "
            f"{len(context)} classes (CSC). Wanted one context for all, (M, W): only that says "
            "anything of new classes."
        )
    width = clip.text_tower.token_embedding.weight.shape[1]
    if context.ndim != 2 or context.shape[1] != width or not len(context):
        raise UserError(
            f"{path}: 'ctx' has shape {list(context.shape)}, wanted (M, {width}) for "
            f"{clip.identity['architecture']}."
        )
    if not context.is_floating_point():
        raise UserError(f"{path}: 'ctx' is of {context.dtype}, wanted floating-point numbers.")
    context = context.float()
    if not torch.isfinite(context).all():
        raise UserError(f"{path}: 'ctx' has values that are not finite. Get a sound copy.")
    prefix = state.get("token_prefix")
    if prefix is not None:
        _require_same_tower(path, prefix, clip)
    _require_room(path, len(context), clip, class_names)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return LearnedElsewhere(context, digest, None if prefix is None else len(prefix))


def _require_same_tower(path: Path, prefix: Tensor, clip: ClipModel) -> None:
    """Compare the start token's embedding, of which the checkpoint has a copy for every class."""
    start = tokenize_prompts(clip, "a", ("thing",)).start
    ours = clip.text_tower.token_embedding.weight[start].cpu()
    if prefix.ndim != 3 or prefix.shape[1:] != (1, len(ours)) or not len(prefix):
        raise UserError(
            f"{path}: 'token_prefix' has shape {list(prefix.shape)}, wanted (C, 1, {len(ours)})."
        )
    if not torch.allclose(prefix[0, 0].float(), ours, rtol=1e-3, atol=CLOSE):
        raise UserError(
            f"{path}: learned with another text tower than that of "
            f"{clip.identity['architecture']}: its start token has another embedding. Set student "
            "to the model it was learned with."
        )


def _require_room(path: Path, tokens: int, clip: ClipModel, class_names: Sequence[str]) -> None:
    """See that every class name has room behind the context."""
    words = " ".join(["x"] * tokens)  # a letter is a token of every CLIP's tokenizer
    try:
        tokenize_prompts(clip, words, tuple(class_names))
    except UserError as error:
        raise UserError(f"{path}: 'ctx' has {tokens} tokens, and {error}") from None
