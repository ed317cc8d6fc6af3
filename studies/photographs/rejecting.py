"""Rejecting pictures of no learned class: scores that were tried on development photographs."""

from collections.abc import Mapping, Sequence

import numpy as np

from fdbpl.evaluation.logits import logsumexp
from fdbpl.evaluation.ood import ClassGaussians, auroc, fpr95
from fdbpl.reporting.tables import markdown
from studies.photographs.development import Case, difference
from studies.photographs.directions import Bridge, told
from studies.photographs.pair import Floats, Photos
from studies.photographs.parts import DEVELOPMENT

CHOSEN = "**chosen**: energy of the chosen decision"
KINDS = ("near", "far")

ABOUT = """\
Scores over base classes: near are the test pictures of new classes, far as many of the other
development sets. Mined negatives are the source's names: base classes' energy less theirs orders
pictures as their share of the probability among both does (NegLabel's score, Jiang et al. 2024). A
Mahalanobis part is half the squared distance to the nearest class mean."""


def rejection_table(tried: Mapping[str, Sequence[Case]]) -> list[str]:
    """Return the section about rejecting."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for dataset, cases in tried.items():
        for case in cases:
            for title, measures in measured(case).items():
                for name, value in measures.items():
                    of_title = found.setdefault(title, {}).setdefault(name, {})
                    of_title.setdefault(dataset, []).append(value)
    means = {
        title: {
            name: {one: float(np.mean(values)) for one, values in of_name.items()}
            for name, of_name in of_title.items()
        }
        for title, of_title in found.items()
    }
    names = [f"{kind} {measure}" for kind in KINDS for measure in ("AUROC", "FPR95")]
    heads = ("score", *names, *(f"{kind} AUROC, less the chosen" for kind in KINDS))
    rows = [
        (
            title,
            *(f"{np.mean(list(of_title[name].values())):.2f}" for name in names),
            *(
                "-"
                if title == CHOSEN
                else difference(of_title[f"{kind} AUROC"], means[CHOSEN][f"{kind} AUROC"])
                for kind in KINDS
            ),
        )
        for title, of_title in means.items()
    ]
    return ["## Rejecting, and negatives of names", ABOUT, markdown([heads, *rows])]


def measured(case: Case) -> dict[str, dict[str, float]]:
    """Return AUROC and FPR95 of near and far OOD by score, in per cent."""
    is_base = np.isin(case.test.labels, case.halves[0])
    sides = {"near": case.test.of(~is_base), "far": far(case, int(is_base.sum()))}
    inside = scores(case, case.test.of(is_base))
    found: dict[str, dict[str, float]] = {title: {} for title in inside}
    for kind, photos in sides.items():
        for title, outside in scores(case, photos).items():
            found[title][f"{kind} AUROC"] = auroc(inside[title], outside)
            found[title][f"{kind} FPR95"] = fpr95(inside[title], outside)
    return found


def far(case: Case, count: int) -> Photos:
    """Return about so many test pictures of the other development sets, equally many of each."""
    drawn = np.random.default_rng(case.seed)
    others = [name for name in DEVELOPMENT if name != case.dataset]
    first, *rest = (
        photos.of(drawn.permutation(len(photos.labels))[: max(1, count // len(others))])
        for photos in (case.pair.seen["test"][name] for name in others)
    )
    return first.with_others(*rest)


def scores(case: Case, photos: Photos) -> dict[str, Floats]:
    """Return each score (n,) of pictures."""
    bridge, base = Bridge.of(case.own, case.source), case.halves[0]
    z = bridge.logits(case, photos)[:, base]
    negatives = case.text("student", source=True), case.text("teacher", source=True)
    of_names = bridge.logits(case, photos, text=negatives)
    e, v = case.text("student")[base], case.text("teacher")[base]
    energy, of_negatives = logsumexp(z), logsumexp(of_names)
    shown, weights = told(case, case.own, v), np.ones(len(case.own.labels))
    template = case.pair.student.logit_scale * photos.student @ e.T
    distances = {
        where: ClassGaussians.fit(seen(case.own), shown, weights).distance(seen(photos)) / 2
        for where, seen in (
            ("the student's features", lambda one: one.student),
            ("the bridge's", bridge.across),
        )
    }
    return {
        CHOSEN: energy,
        "energy of the template": logsumexp(template),
        "energy, less that of mined negatives": energy - of_negatives,
        **{f"energy and Mahalanobis in {where}": energy - d for where, d in distances.items()},
        "energy of the teacher": logsumexp(case.pair.teacher.logit_scale * photos.teacher @ v.T),
    }
