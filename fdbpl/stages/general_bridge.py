"""The general bridge: how a student's features go with a teacher's, learned once for the pair.

Every cache of a pair of models will do: the regions of all its training images are read, no label
is. The packaged tiny pair comes with one, learned from drawn pictures of all kinds.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.artifact import GENERAL, Artifact
from fdbpl.clip.tiny import HERE
from fdbpl.errors import UserError
from fdbpl.methods.bridge import Moments
from fdbpl.params import AUTO, NONE, Params
from fdbpl.payload_names import is_of_classes
from fdbpl.regions.plan import Plan
from fdbpl.stages.caches import open_caches
from fdbpl.workspace import Workspace

TINY = HERE / "fdbpl-tiny-bridge.safetensors"
COVARIANCES = "covariances"
DECIDES = ("architecture", "weights", "activation")  # of a model's features, whoever computes them
REGIONS_AT_ONCE = 1 << 16

Floats = NDArray[np.floating[Any]]


def make_general_bridge(
    params: Params, datasets: Iterable[str], work: Workspace, out: Path
) -> list[str]:
    """Learn the bridge from the caches of datasets, each of which counts the same; write it.

    Raises:
        UserError: a cache is missing, damaged or made from other models, or keeps logits.
    """
    if is_of_classes(params.cache.payload):
        raise UserError(
            f"cache.payload is {params.cache.payload!r}, and a bridge goes between features. "
            "Wanted float16, float32 or int8."
        )
    found, regions, about = [], 0, {}
    names = list(datasets)
    for name in names:
        plan = Plan.load(work.plan(name))
        teacher, student = open_caches(params, plan, work)
        total = len(plan.regions)
        parts = np.array_split(np.arange(total), -(-total // REGIONS_AT_ONCE))
        moments = (
            Moments.of(
                student.features("train", rows), teacher.features("train", rows), plan.areas(rows)
            )
            for rows in parts
        )
        found.append(reduce(Moments.__add__, moments).bridge()[:, 1:])
        regions += total
        about = {
            "student": _model(student.manifest.identity.encoder),
            "teacher": _model(teacher.manifest.identity.encoder),
        }
    bridge = Artifact(
        {COVARIANCES: np.mean(found, axis=0)},
        {"kind": GENERAL, "datasets": names, "regions": regions, **about},
    )
    bridge.save(out)
    return [f"{out}: a bridge from {regions:,} regions of {', '.join(names)}"]


def general_bridge(
    chosen: str, student: Mapping[str, Any], teacher: Mapping[str, Any]
) -> Artifact | None:
    """Return the general bridge between two models, if there is one.

    Args:
        chosen: "auto", the packaged one if it is these models'; "none"; or a file.
        student: its architecture, weights and activation, among more.
        teacher: the same.

    Raises:
        UserError: the file is missing, damaged, or of other models.
    """
    if chosen == NONE:
        return None
    path = TINY if chosen == AUTO else Path(chosen)
    bridge = Artifact.load(path, GENERAL)
    for role, model in (("student", student), ("teacher", teacher)):
        have, wanted = bridge.about[role], _model(model)
        if have != wanted:
            if chosen == AUTO:
                return None
            raise UserError(
                f"{path}: its {role} is {_called(have)}, wanted {_called(wanted)}. Make one of "
                f"these models by fdbpl bridge, or set bridge: {NONE} in params.yaml."
            )
    return bridge


def covariances_of(bridge: Artifact | None) -> Floats | None:
    """Return the covariances (D, D + E) of a bridge, if there is one."""
    return None if bridge is None else bridge.arrays[COVARIANCES]


def _model(identity: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(identity.get(key, "unknown")) for key in DECIDES}


def _called(model: Mapping[str, str]) -> str:
    return f"{model['architecture']} ({model['activation']}, weights {model['weights'][:12]})"
