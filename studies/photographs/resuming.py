"""What trainings share: the course of the learning rate, and checkpoints to go on from."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fdbpl.system.files import write_whole


def groups(trained: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Return an optimiser's groups: only matrices decay."""
    return [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": weight_decay},
        {"params": [one for one in trained if one.ndim < 2], "weight_decay": 0.0},
    ]


def share_of_rate(step: int, steps: int, warm: float = 0.08) -> float:
    """Return the learning rate's share: up in a straight line, then down along a cosine."""
    done = (step + 1) / steps
    return done / warm if done < warm else (1 + math.cos(math.pi * (done - warm) / (1 - warm))) / 2


def keep(path: Path, step: int, trained: Sequence[Tensor], optimiser: Any) -> None:
    """Write a checkpoint: the steps done, what is trained, and the optimiser's state."""
    kept = io.BytesIO()
    tensors = [one.detach() for one in trained]
    torch.save({"step": step, "trained": tensors, "optimiser": optimiser.state_dict()}, kept)
    write_whole(path, kept.getvalue())


def resume(path: Path, trained: Sequence[Tensor], optimiser: Any) -> int:
    """Bring a training to where its checkpoint left it; return the next step, 0 without one."""
    if not path.exists():
        return 0
    found = torch.load(path, weights_only=True)
    with torch.no_grad():
        for one, kept in zip(trained, found["trained"], strict=True):
            one.copy_(kept)
    optimiser.load_state_dict(found["optimiser"])
    return int(found["step"])
