"""ProLIP (Fahes et al. 2024, arXiv 2410.05270): fine-tuning the last visual projection.

    L = CE(s unit(h W) U^T, label) + lambda ||W - W0||^2

h are the student's features before its last projection, W0 is that projection, where W starts, U
the class features under the dataset's template, and ||.|| Frobenius' norm. Without a validation set
the paper sets lambda = 1/N for N shots of each class, and 1/N^2 as another choice. The optimiser is
the paper's, Adam, at the released code's 1e-5 and eps of 1e-4; epochs, batches and the warm-up are
those of all methods here, where the paper takes 300 steps of all shots.

h is brought to unit length in the cache, which changes neither loss nor gradient: see
`fdbpl.clip.projection`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fdbpl.classify.decision import Decision
from fdbpl.methods.batch import Batch, Floats, Tensors, Terms
from fdbpl.methods.coop import cross_entropy
from fdbpl.methods.method import Classes, Method, Start
from fdbpl.methods.terms import projected
from fdbpl.system.section import Section

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from fdbpl.methods.params import TrainParams
    from fdbpl.methods.training_data import TrainingData

EPS = 1e-4
W = "projection"


class ProLipOptions(Section):
    """The learning rate, which the warm-up does not exceed, and lambda."""

    lr: float = Field(1e-5, gt=0)
    penalty: Literal["1/N", "1/N^2"] | Annotated[float, Field(ge=0)] = "1/N"


class ProLip(Method):
    """A projection (E, D) of its own in place of the student's last; the template classifies."""

    Options = ProLipOptions
    labelled = True
    sees = "hidden"

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return the student's own projection (E, D)."""
        from fdbpl.clip.projection import last_projection

        return Start({W: last_projection(data.clip)})

    def recipe(self, params: "TrainParams") -> "TrainParams":
        """Return the schedule at this method's learning rate."""
        return params.at(self.options.lr)

    def optimiser(self, learned: Sequence["Tensor"], params: "TrainParams") -> "Optimizer":
        """Return Adam."""
        import torch

        return torch.optim.Adam(list(learned), lr=params.lr, eps=EPS)

    def loss(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the cross-entropy, and the weighted distance from where W started."""
        from fdbpl.clip.projection import last_projection

        start = last_projection(data.clip).to(data.device)
        features = projected(batch.student, tensors[W])
        logits = data.scale * features @ batch.require("anchors").mT
        shots = len(next(iter(data.picks.values()))) / len(data.names)
        apart = (tensors[W] - start).square().sum(dim=(-2, -1))
        return {
            "cross_entropy": cross_entropy(logits, batch.labels),
            "penalty": self.weight(shots) * apart,
        }

    def weight(self, shots: float) -> float:
        """Return lambda for so many images of each class."""
        rules = {"1/N": 1 / shots, "1/N^2": 1 / shots**2}
        return float(rules.get(self.options.penalty, self.options.penalty))

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return the template's cosines with features carried through W."""
        template = classes.text("template")
        return Decision(template, classes.scale, projection=arrays[W], sees="hidden")
