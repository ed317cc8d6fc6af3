"""Contexts from checkpoints of the CoOp family, read as plain weights.

A checkpoint of Dassl, such as `prompt_learner/model.pth.tar-50`, holds `state_dict` beside the
epoch, the optimiser's state and its schedule. CoOp's state is `ctx`, the context, and two buffers
that say what stands around it, `token_prefix` and `token_suffix`. KgCoOp's and ProGrad's are the
same; what holds more is another method's.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256

BUFFERS = ("token_prefix", "token_suffix")
CLOSE = 1e-4
"""CoOp trains in half precision: how far, beside a thousandth, its copy of an embedding may be."""


class _LeftOut:
    """Stands for an object beside the weights, of which nothing is read and nothing runs."""

    def __setstate__(self, state: Any) -> None: ...


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


# Dassl's schedule with a warm-up holds torch's own schedule and optimiser as objects, so every
# checkpoint of CoOp's configurations names them. They are left out, not made.
BESIDE_WEIGHTS: list[Any] = [
    *(
        (_LeftOut, f"torch.optim.{name}")
        for name in (
            "lr_scheduler.CosineAnnealingLR",
            "lr_scheduler.MultiStepLR",
            "lr_scheduler.StepLR",
            "adam.Adam",
            "adamw.AdamW",
            "sgd.SGD",
        )
    ),
    (_plain_dict, "collections.defaultdict"),
    (dict, "builtins.dict"),
]


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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. Wanted a checkpoint of CoOp's kind.") from None
    state = _state(path, data)
    if "ctx" not in state:
        raise UserError(
            f"{path}: no tensor 'ctx' among {_some(state)}. Wanted a checkpoint of CoOp's kind."
        )
    others = sorted(set(state) - {"ctx", *BUFFERS})
    if others:
        raise UserError(
            f"{path}: holds {_some(others)} beside 'ctx'. Wanted a method that learns a context "
            "alone, such as CoOp or KgCoOp."
        )
    context = state["ctx"].float()
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
    if not torch.isfinite(context).all():
        raise UserError(f"{path}: 'ctx' has values that are not finite. Get a sound copy.")
    prefix = state.get("token_prefix")
    if prefix is not None:
        _require_same_tower(path, prefix, clip)
    _require_room(path, len(context), clip, class_names)
    return LearnedElsewhere(context, sha256(data), None if prefix is None else len(prefix))


def _state(path: Path, data: bytes) -> dict[str, Tensor]:
    """Return the checkpoint's tensors by name, without the name of the module around them."""
    try:
        with torch.serialization.safe_globals(BESIDE_WEIGHTS):
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f"{path}: holds more than plain weights ({_refused(error)}), and nothing else is "
            "unpickled. Where you trust it, save its weights alone: "
            'torch.save({"state_dict": {"ctx": ...}}, file).'
        ) from None
    except Exception as error:  # torch raises types of its own for damage
        raise UserError(
            f"{path}: not readable as a checkpoint ({type(error).__name__}). Get a sound copy."
        ) from None
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise UserError(f"{path}: no state_dict of tensors. Wanted a checkpoint of CoOp's kind.")
    return {
        name.removeprefix("module.").removeprefix("prompt_learner."): tensor
        for name, tensor in state.items()
    }


def _refused(error: UnpicklingError) -> str:
    """Return what torch says it refused, without its advice to load the file unsafely."""
    _, found, rest = str(error).partition("Unsupported global: GLOBAL ")
    return rest.split()[0] if found else "an object that is no tensor"


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


def _some(names: Any) -> str:
    found = [repr(name) for name in names]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
