"""FDBPL's formulas as plain loops in double precision, and small problems to try them on."""

import math
from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from hypothesis import strategies as st
from test_terms import plain_hinge
from torch import Tensor

from fdbpl.methods.method import Batch, Terms
from fdbpl.methods.options import FdbplOptions

SCALE = 18.7
seeds = st.integers(0, 999)

Objective = Callable[[Batch, Tensor, float], Terms]


def problem(seed: int, regions: int = 6, classes: int = 5, sets: int = 2) -> tuple[Batch, Tensor]:
    """A batch and text features (K, C, D), in double precision."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(x, dim=-1)

    logits = 2 * torch.randn(regions, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (regions,), generator=generator)
    student, text, anchors = unit(regions, 8), unit(sets, classes, 8), unit(classes, 8)
    areas = torch.rand(regions, generator=generator, dtype=torch.float64)
    return Batch(student, logits.log_softmax(-1), labels, anchors, areas), text


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(z: list[float]) -> list[float]:
    powers = [math.exp(x - max(z)) for x in z]
    return [x / sum(powers) for x in powers]


def divergence(p: list[float], q: list[float]) -> float:
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def plain_weight(p: list[float], area: float, o: FdbplOptions) -> float:
    """w of one region."""
    if o.weight == "none":
        return 1.0
    if o.weight == "area":
        return area
    return plain_informativeness(p, o.weight_floor)


def plain_informativeness(p: list[float], floor: float = 0.0) -> float:
    return 1 + sum(x * math.log(x + floor) for x in p) / math.log(len(p))


def plain_unit(row: list[float]) -> list[float]:
    return [x / math.sqrt(dot(row, row)) for x in row]


def less(a: list[float], b: list[float], share: float = 1.0) -> list[float]:
    return [x - share * y for x, y in zip(a, b, strict=True)]


def plain_differences(batch: Batch, text: Tensor) -> list[list[float]]:
    """S, a region and a class at a time."""
    d = [less(a, b) for a, b in zip(*text.tolist(), strict=True)]
    return [[dot(f, row) for row in d] for f in batch.student.tolist()]


def plain_fdbpl(batch: Batch, text: Tensor, o: FdbplOptions) -> dict[str, float]:
    """The weighted terms that have a weight, a region and a class at a time."""
    teacher, features = batch.teacher.exp().tolist(), batch.student.tolist()
    areas = batch.require("areas").tolist()
    u, v = text.tolist()
    classes, count = len(u), len(features)
    e = u
    if o.similarity == "difference":
        e = [plain_unit(less(a, b, o.negative_share)) for a, b in zip(u, v, strict=True)]
    if o.similarity == "difference" and o.template_share:
        t = batch.require("anchors").tolist()
        e = [plain_unit(less(a, b, -o.template_share)) for a, b in zip(e, t, strict=True)]
    s = plain_differences(batch, text)
    values: dict[str, list[float]] = {key: [] for key in ("sim", "rej", "mut", "dif")}
    weights, labels = [], []
    for region, (p, f) in enumerate(zip(teacher, features, strict=True)):
        weights.append(plain_weight(p, areas[region], o))
        labels.append(p.index(max(p)))
        z_plus, z_minus, z = ([SCALE * dot(f, row) for row in side] for side in (u, v, e))
        decided, minus = softmax(z), softmax(z_minus)
        values["sim"].append((divergence(p, decided) + divergence(decided, p)) / 2)
        if o.rejection == "uniform":
            values["rej"].append(divergence([1 / classes] * classes, minus))
        else:
            values["rej"].append(sum(x * math.log(x) for x in minus))
        norms = math.sqrt(dot(z_plus, z_plus) * dot(z_minus, z_minus))
        values["mut"].append(dot(z_plus, z_minus) / norms)
        values["dif"].append(max(0.0, o.first_margin - s[region][labels[-1]]))

    def mean(key: str, w: list[float]) -> float:
        return dot(w, values[key]) / (count if o.normalise == "batch" else max(sum(w), 1e-12))

    second = 0.0
    if o.second == "hinge":
        second = plain_hinge(s, labels, weights, o.second_margin)
    terms = {
        "similarity": (1.0, mean("sim", weights)),
        "rejection": (o.rejection_weight, mean("rej", [1 - w for w in weights])),
        "mutual": (o.mutual_weight, mean("mut", weights)),
        "first_difference": (o.first_weight, mean("dif", weights)),
        "second_difference": (o.second_weight, second),
    }
    return {name: weight * value for name, (weight, value) in terms.items() if weight}


def as_each_alone(objective: Objective, runs: list[tuple[Batch, Tensor]]) -> None:
    parts = {
        field.name: torch.stack([getattr(batch, field.name) for batch, _ in runs])
        for field in fields(Batch)
        if getattr(runs[0][0], field.name) is not None
    }
    together = objective(Batch(**parts), torch.stack([text for _, text in runs]), SCALE)
    for run, (batch, text) in enumerate(runs):
        alone = objective(batch, text, SCALE)
        assert together.keys() == alone.keys()
        for term, value in alone.items():
            assert together[term].expand(3)[run].item() == pytest.approx(value.item(), rel=1e-9)
