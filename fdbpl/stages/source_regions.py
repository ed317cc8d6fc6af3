"""The cached regions of the source dataset, as far as training on another dataset may know them."""

import inspect
from pathlib import Path

import numpy as np

from fdbpl.clip.model import ClipModel
from fdbpl.methods.region_pairs import RegionPairs, SourceRegions
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.plan_content import areas_of, shown_by
from fdbpl.stages.planned import load_planned
from fdbpl.stages.sides import hidden_side, student_side, teacher_side
from fdbpl.system.files import canonical_json, sha256
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import region_pairs
from fdbpl.training.store import syntax_digest


def regions_of_source(
    params: Params, plan: Plan, work: Workspace, clip: ClipModel
) -> SourceRegions | None:
    """Return all regions of the source, for methods that read them on a plan's dataset.

    None where no method does, the dataset is the source itself, or that has none. Its caches are
    opened at once, and read when a method wants them.

    Raises:
        UserError: the source's plan or caches are missing, damaged or of other parameters.
    """
    if plan.name == params.source or not any(one.reads_source for one in params.chosen_methods):
        return None
    other = load_planned(params, params.source, work)
    if not len(other.regions):
        return None
    teacher = teacher_side(params, other, work)
    hidden = hidden_side(params, other, work, clip, student_side(params, other, work, clip))
    images = np.arange(len(other.regions) // other.crops)

    def opened() -> tuple[RegionPairs, np.ndarray]:
        features = hidden.read()
        areas = areas_of(other, held=isinstance(features, np.ndarray))
        return region_pairs(features, teacher.read(), areas, other.crops, clip.text_device), images

    code = [syntax_digest(Path(inspect.getfile(one))) for one in (regions_of_source, shown_by)]
    decides = [shown_by(other, images), hidden.digest, teacher.digest, code]
    return SourceRegions(opened, sha256(canonical_json(decides)))
