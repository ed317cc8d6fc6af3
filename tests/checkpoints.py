"""Checkpoints as CoOp and Dassl leave them, for tests."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from fdbpl.clip.model import ClipModel
from fdbpl.clip.tokens import tokenize_prompts


class WarmUp(LRScheduler):
    """Dassl's way: the schedule that follows the warm-up is held as an object."""

    def __init__(self, optimizer: SGD, successor: CosineAnnealingLR):
        self.successor = successor
        self.warmup_epoch = 1
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [1e-5 for _ in self.base_lrs]


def coop_checkpoint(
    path: Path,
    clip: ClipModel,
    context: Tensor,
    *,
    classes: int = 5,
    dtype: torch.dtype = torch.float16,
    name: str = "{}",
    beside: dict[str, Any] | None = None,
    **more: Tensor,
) -> Path:
    """Save what Dassl saves after the last epoch: weights, epoch, optimiser and schedule."""
    learned = torch.nn.Parameter(context.clone())
    optimizer = SGD([learned], lr=0.002, momentum=0.9, weight_decay=5e-4)
    warm_up = WarmUp(optimizer, CosineAnnealingLR(optimizer, 50.0))
    learned.grad = torch.zeros_like(learned)
    optimizer.step()
    warm_up.step()
    table = clip.text_tower.token_embedding.weight
    start = tokenize_prompts(clip, "a", ("thing",)).start
    state = {
        "ctx": context,
        "token_prefix": table[start].expand(classes, 1, -1),
        "token_suffix": table[:3].expand(classes, 3, -1),
        **more,
    }
    content = {
        "state_dict": OrderedDict((name.format(key), t.to(dtype)) for key, t in state.items()),
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": warm_up.state_dict(),
        "val_result": None,
        **(beside or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path
