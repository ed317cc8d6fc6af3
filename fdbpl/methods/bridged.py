"""A method's class vectors, and the teacher's across a bridge from the student's hidden features.

    logit of class c = s (f - f0) . e_c + SHARE (h - h0) M . v_c

e_c are another method's class vectors: the template's, or those of its learned contexts. h is the
student's unit feature before its last projection W, f = unit(h W), v_c the teacher's class vector
under the dataset's template, and s the student's logit scale. M is the ridge regression of the
teacher's features, times its logit scale, on h over regions, each counted with the share of its
image that it shows; h0 and f0 are the regions' means. So the mean region has the logit 0 for every
class: what is common to all that was shown speaks for no class, learned or not.

The regions are those that a seed learns from, and all of the source dataset, which in sum are as
heavy. No label is read, no name takes part in M, and nothing asks which classes were
learned: a new name needs both text towers once, its images never. Contexts are learned on what the
bridge leaves: the other method's loss has the whole logit in it.

A student that ends without a projection, or in one with a bias, shows no h: f takes its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fdbpl.classify.decision import Decision, Discriminant, Role
from fdbpl.methods.batch import Batch, Floats, Tensors
from fdbpl.methods.method import Classes, ClosedForm, Method, Start
from fdbpl.methods.terms import projected
from fdbpl.methods.wrapped import Wrapped

if TYPE_CHECKING:
    from fdbpl.methods.training_data import TrainingData

# Chosen on development photographs: docs/trials.md shows what each gains there.
SHARE = 2.0
RIDGE = 0.3  # in mean variances of the hidden features
SOURCE = 1.0  # of the source's regions together, in the weight of the seed's

BRIDGE, PROJECTION = "bridge", "projection"
HIDDEN_MEAN, FEATURE_MEAN = "hidden_mean", "feature_mean"


@dataclass(frozen=True)
class HiddenBridge(ClosedForm):
    """M (H, E), h0 (H,) and f0 (D,); and W (H, D), if there is one.

    Attributes:
        ridge: in mean variances of the hidden features.
        source: weight of the source's regions beside the seed's own; 0 leaves them out.
    """

    ridge: float = RIDGE
    source: float = 0.0
    reads_classes = False

    @property
    def reads_source(self) -> bool:
        """Where it has a weight."""
        return self.source > 0

    def fit(self, data: "TrainingData", seed: int) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Read the features of the seed's regions once; the source's once for all seeds."""
        moments, width = data.moments(seed), data.teacher.vectors.shape[1]
        if self.reads_source and data.source_moments is not None:
            moments += data.source_moments.scaled_to(moments, self.source)
        hidden_mean, means = moments.means()
        found: dict[str, Floats] = {
            BRIDGE: data.teacher.scale * moments.regression(self.ridge)[:, :width],
            HIDDEN_MEAN: hidden_mean,
            FEATURE_MEAN: means[width:],
        }
        if data.projection is not None:
            found[PROJECTION] = data.projection
        return {name: one.astype(np.float32) for name, one in found.items()}, {}


OF_SOURCE_TOO = HiddenBridge(source=SOURCE)


class Bridged(Wrapped):
    """Another method with a bridge beside it.

    Attributes:
        inner: the other method, which sees the student's features.
        bridge: what stands beside it.
        share: of the bridge in the logits.
    """

    sees = "hidden"
    asks_teacher = True
    takes_projected = True

    def __init__(
        self,
        name: str,
        title: str,
        inner: Method,
        bridge: HiddenBridge = OF_SOURCE_TOO,
        share: float = SHARE,
    ) -> None:
        """Name the two together; the options are the other method's."""
        super().__init__(name, title, inner)
        self.bridge, self.share = bridge, share

    @property
    def training(self) -> list[Any]:
        """The other method's, and the bridge."""
        return [type(self).__name__, self.share, vars(self.bridge), *self.inner.training]

    @property
    def closed_form(self) -> Sequence[ClosedForm]:
        """The other method's; the bridge, too, where no steps are taken on what it leaves."""
        return (*self.inner.closed_form, *(() if self.takes_steps else (self.bridge,)))

    @property
    def reads_source(self) -> bool:
        """Whether the bridge does."""
        return self.bridge.reads_source

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return the other method's start; the bridge is fixed beside it."""
        import torch

        start, bridge = self.inner.start(data, seed), self.bridge.fit(data, seed)[0]
        fixed = {name: torch.from_numpy(one) for name, one in bridge.items()}
        return Start(start.learned, {**start.fixed, **fixed})

    def shown(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Batch:
        """Return the batch of centred features f - f0, beside it what the bridge says."""
        hidden = batch.student
        features = projected(hidden, tensors[PROJECTION]) if PROJECTION in tensors else hidden
        across = (hidden - tensors[HIDDEN_MEAN][:, None]) @ tensors[BRIDGE]
        return replace(
            batch,
            student=features - tensors[FEATURE_MEAN][:, None],
            beside=self.share * across @ data.teacher.vectors.T,
        )

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return the other method's logits and the teacher's as the bridge has them.

        Raises:
            UserError: nobody gave the teacher's class vectors, or they are of another width; or as
                of the other method.
        """
        bridge, projection = arrays[BRIDGE], arrays.get(PROJECTION)
        inner = self.inner.decision(arrays, classes)
        vectors = inner.vectors
        weights = classes.teacher_of(bridge.shape[1]).astype(np.float64) @ bridge.T
        offsets = weights @ arrays[HIDDEN_MEAN] * self.share
        offsets += classes.scale * (vectors.astype(np.float64) @ arrays[FEATURE_MEAN])
        part = Discriminant(
            np.hstack([weights, -offsets[:, None] / self.share]).astype(np.float32),
            np.ones(len(vectors), np.float32),
            self.share,
            before_projection=projection is not None,
        )
        sees: Role = "student" if projection is None else "hidden"
        parts = {**inner.parts, BRIDGE: part}
        return Decision(vectors, classes.scale, parts, projection, sees)
