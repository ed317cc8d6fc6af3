"""The template, and the teacher's class vectors across a bridge from the student's hidden features.

    logit of class c = s f . t_c + SHARE (h M + b) . v_c

h is the student's unit feature before its last projection W, f = unit(h W), t_c the student's class
vector under the dataset's template and v_c the teacher's, s the student's logit scale. M and b are
the ridge regression of the teacher's features, times its logit scale, on h over the regions that a
seed learns from, each counted with the share of its image that it shows. No label is read, no name
takes part in M, and nothing asks which classes were learned: a new name needs the teacher's text
tower once, its images never.

A student that ends without a projection, or in one with a bias, shows no h: f takes its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fdbpl.classify.bridge import Moments
from fdbpl.classify.decision import Decision, Discriminant, Role
from fdbpl.methods.batch import Floats
from fdbpl.methods.knowledge import BRIDGE
from fdbpl.methods.method import Classes, ClosedForm, Method

if TYPE_CHECKING:
    from fdbpl.clip.model import ClipModel
    from fdbpl.methods.training_data import TrainingData

# Chosen on development photographs.
SHARE = 1.0
RIDGE = 0.3  # in mean variances of the hidden features
PROJECTION = "projection"


class TemplateBridge(Method):
    """Nothing is learned by steps; `bridge` (E + 1, F), and `projection` (E, D) if any, follow."""

    sees = "hidden"

    def require_student(self, clip: "ClipModel") -> None:
        """Take any."""

    @property
    def closed_form(self) -> Sequence[ClosedForm]:
        """The regression."""
        return (HiddenBridge(),)

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return the template's cosines and the teacher's logits as the bridge has them.

        Raises:
            UserError: nobody gave the teacher's class vectors, or they are of another width.
        """
        bridge, projection = arrays[BRIDGE], arrays.get(PROJECTION)
        teacher = np.asarray(classes.teacher_of(bridge.shape[1]), np.float64)
        part = Discriminant(
            (teacher @ bridge.T).astype(np.float32),
            np.ones(len(teacher), np.float32),
            SHARE,
            before_projection=projection is not None,
        )
        sees: Role = "student" if projection is None else "hidden"
        return Decision(classes.text("template"), classes.scale, {BRIDGE: part}, projection, sees)


@dataclass(frozen=True)
class HiddenBridge(ClosedForm):
    """The regression's weights, the offsets below them; and W, if there is one, beside it."""

    ridge: float = RIDGE
    reads_classes = False

    def fit(self, data: "TrainingData", seed: int) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Read the features of the seed's regions once."""
        from fdbpl.clip.projection import last_projection, shows_hidden

        first, *others = (Moments.of(*pairs) for pairs in data.pairs(seed))
        fitted = data.teacher.scale * sum(others, first).regression(self.ridge)
        found: dict[str, Floats] = {BRIDGE: fitted.astype(np.float32)}
        if shows_hidden(data.clip):
            found[PROJECTION] = last_projection(data.clip).float().cpu().numpy()
        return found, {}
