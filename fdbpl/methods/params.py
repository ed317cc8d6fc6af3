"""The section `train` of the parameters."""

from typing import Literal

from pydantic import Field

from fdbpl.system.section import Section


class TrainParams(Section):
    """The optimiser of the CoOp family: SGD, cosine per epoch after one warm-up epoch.

    `precision` is of the text tower's products; `memory_mb`, in MiB, is for what its backward
    pass needs: beyond it, part is computed twice. `likeliest` is the number of names that a batch
    takes of a vocabulary.
    """

    lr: float = Field(0.002, gt=0)
    warmup_lr: float = Field(1e-5, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    epochs: int = Field(50, ge=1)
    batch: int = Field(32, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    memory_mb: int = Field(4096, ge=1)
    likeliest: int = Field(1000, ge=2)

    def at(self, lr: float) -> "TrainParams":
        """Return the same schedule at another learning rate, which the warm-up does not exceed."""
        return self.model_copy(update={"lr": lr, "warmup_lr": min(self.warmup_lr, lr)})
