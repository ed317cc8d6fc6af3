"""How much of what the teacher sees in test pictures a bridge tells, and what that is worth."""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.methods.bridged import BRIDGE
from fdbpl.methods.registry import title_of
from fdbpl.protocols.base_to_new import BASE, BASE_TO_NEW, NEW
from fdbpl.reporting.tables import markdown, number
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_caches
from fdbpl.stages.learned import open_learned
from fdbpl.stages.planned import load_planned
from fdbpl.stages.tasks import classes_of, task_of
from fdbpl.system.workspace import Workspace
from studies.contrasts import BARE, EACH, OWN, TEMPLATE, Contrast, sentences
from studies.records import compared_measures

BRIDGES = {"EfficientNet": "bridge_efficientnet", "ViT": "bridge_vit"}
"""Runs on development sets by the image tower of the student; their text towers are one."""

READING = """\
A bridge gains where the image tower shows what the teacher sees and the student's texts do not name
it: so it is with the student of [photographs](photographs.md), whose image tower is this
EfficientNet and whose texts know less. Where the texts name it already, nothing is left to gain;
where the tower shows little of it, little comes across."""

Floats = NDArray[np.floating[Any]]


def explained(params: Params, work: Workspace, dataset: str, method: str) -> dict[str, float]:
    """Return for test pictures of "base" and "new" classes what a method's bridge explains.

    Per cent of the variance of the teacher's features, a mean over seeds.

    Raises:
        UserError: plan, cache or what was learned is missing, damaged or of other parameters.
    """
    plan = load_planned(params, dataset, work)
    task = task_of(params, plan, BASE_TO_NEW, params.counts[-1])
    caches = open_caches(params, plan, work)
    hidden = caches["hidden"].features("test")
    wanted = caches["teacher"].features("test")
    scale = caches["teacher"].manifest.identity.model["logit_scale"]
    truth = plan.images["label"][plan.test]
    bridges = [
        open_learned("prompts", params, task, work, method, seed).arrays[BRIDGE]
        for seed in params.seeds
    ]
    found = {}
    for half, labels in classes_of(BASE_TO_NEW, plan).tested.items():
        rows = np.isin(truth, labels)
        found[half] = fmean(
            share(wanted[rows], hidden[rows] @ (bridge / scale)) for bridge in bridges
        )
    return found


def share(wanted: Floats, told: Floats) -> float:
    """Return 100 (1 - |Y - Z|^2 / |Y|^2) of Y (n, E) wanted and Z (n, E) told, about their means.

    Negative where the means alone tell more.
    """
    y, z = (np.asarray(one, np.float64) for one in (wanted, told))
    about, gap = (one - one.mean(axis=0) for one in (y, y - z))
    return float(100 * (1 - (gap**2).sum() / (about**2).sum()))


def bridges(records: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a bridge explains and what it is worth, by the student's image tower.

    Args:
        records: of `BRIDGES`, each what it left for compare.json, and what was `explained`.
    """
    found = {tower: records[name] for tower, name in BRIDGES.items() if name in records}
    measures = {tower: compared_measures(one) for tower, one in found.items()}
    names = ", ".join(next(iter(measures.values())).datasets())
    yield "## Why the bridge does not help this student"
    yield (
        "The bridge foretells the teacher's features from the student's before its last "
        "projection. How much of their variance it explains on test pictures, and what it is worth "
        "beside the template, for the packaged students: their text tower is one, their image "
        f"towers differ. Development sets ({names}), per cent:"
    )
    heads = [f"explained, {half} classes" for half in (BASE, NEW)]
    heads += [f"joint H, {title_of(method)}" for method in (TEMPLATE, OWN, BARE)]
    rows = [("image tower", *heads)]
    for tower, one in found.items():
        told = [fmean(of[half] for of in one["explained"].values()) for half in (BASE, NEW)]
        worth = [measures[tower].mean("joint H", method) for method in (TEMPLATE, OWN, BARE)]
        rows.append((tower, *map(number, (*told, *worth))))
    yield markdown(rows)
    yield READING
    pairs = {f"in {one}": ((one, BARE), (one, TEMPLATE)) for one in EACH}
    yield "\n".join(
        sentences([Contrast(f"{tower}: {title_of(BARE)} against {title_of(TEMPLATE)}", pairs)], one)
        for tower, one in measures.items()
    )
