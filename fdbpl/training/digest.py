"""What decides a training, in one digest: by it interrupted and finished ones are known again."""

from collections.abc import Sequence

import torch

from fdbpl.code import CODE_OF_TRAINING, code_digest
from fdbpl.methods.table import trained_method
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.system.device import choose_device
from fdbpl.system.files import canonical_json, sha256


def training_digest(params: Params, plan: Plan, method: str, sources: Sequence[str]) -> str:
    """Return a digest of all that decides what a method learns, for all seeds of `params`.

    Args:
        params: the optimiser, the options, the seeds and the device.
        plan: images, regions and classes.
        method: its name.
        sources: digests of the student's and the teacher's features.

    Raises:
        UserError: an unknown method or option, or a device that is not there.
    """
    decides = [
        *(plan.digest, *sources),
        *(method, dict(trained_method(method, params.objectives.get(method)).options)),
        *(params.train.model_dump(), params.teacher.logit_scale, params.seeds),
        *(choose_device(params.device), torch.__version__, code_digest(CODE_OF_TRAINING)),
    ]
    return sha256(canonical_json(decides))
