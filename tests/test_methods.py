"""Every objective equals METHOD section 1, written as plain loops in double precision."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_terms import plain_hinge
from torch import Tensor

from fdbpl.errors import UserError
from fdbpl.methods.batch import Batch, Objective
from fdbpl.methods.coop import coop
from fdbpl.methods.fdbpl import Fdbpl, released_second_difference
from fdbpl.methods.inference import POSITIVE_ONLY, Inference
from fdbpl.methods.kdpl import kdpl
from fdbpl.methods.kdpl_w import kdpl_w
from fdbpl.methods.kgcoop import kgcoop
from fdbpl.methods.names import KNOWN, TRAINED
from fdbpl.methods.options import PRESETS, FdbplOptions, with_overrides
from fdbpl.methods.table import trained_method

SCALE = 18.7
seeds = st.integers(0, 999)


def problem(seed: int, regions: int = 6, classes: int = 5, sets: int = 2) -> tuple[Batch, Tensor]:
    """A batch and text features (K, C, D), in double precision."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(x, dim=-1)

    logits = 2 * torch.randn(regions, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (regions,), generator=generator)
    student, text, anchors = unit(regions, 8), unit(sets, classes, 8), unit(classes, 8)
    refined = 2 * torch.randn(regions, classes, generator=generator, dtype=torch.float64)
    areas, levels = (torch.rand(n, generator=generator, dtype=torch.float64) for n in (regions, 40))
    batch = Batch(
        student,
        logits.log_softmax(-1),
        labels,
        anchors,
        areas=areas,
        levels=levels.sort().values,
        refined=refined.log_softmax(-1),
    )
    return batch, text


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(z: list[float]) -> list[float]:
    powers = [math.exp(x - max(z)) for x in z]
    return [x / sum(powers) for x in powers]


def divergence(p: list[float], q: list[float]) -> float:
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def plain_weight(p: list[float], area: float, levels: list[float], o: FdbplOptions) -> float:
    """w of one region."""
    if o.weight == "none":
        return 1.0
    if o.weight == "area":
        return area**o.weight_power
    temperature = 1.0 if o.weight == "rank" else o.weight_temperature
    w = plain_informativeness(softmax([math.log(x) / temperature for x in p]))
    if o.weight == "rank":
        w = sum(level <= w for level in levels) / len(levels)
    return w**o.weight_power


def plain_informativeness(p: list[float]) -> float:
    return 1 + sum(x * math.log(x) for x in p) / math.log(len(p))


def plain_unit(row: list[float]) -> list[float]:
    return [x / math.sqrt(dot(row, row)) for x in row]


def less(a: list[float], b: list[float], share: float = 1.0) -> list[float]:
    return [x - share * y for x, y in zip(a, b, strict=True)]


def plain_differences(batch: Batch, text: Tensor, o: FdbplOptions) -> list[list[float]]:
    """S, a region and a class at a time."""
    d = [less(a, b) for a, b in zip(*text.tolist(), strict=True)]
    if o.difference_unit == "direction":
        d = [plain_unit(row) for row in d]
    factor = SCALE if o.difference_unit == "logit" else 1.0
    return [[factor * dot(f, row) for row in d] for f in batch.student.tolist()]


def plain_margins(o: FdbplOptions) -> tuple[float, float]:
    own = {"cosine": 0.2, "logit": 1.0, "direction": 0.2}[o.difference_unit]
    return (
        own if o.first_margin is None else o.first_margin,
        own if o.second_margin is None else o.second_margin,
    )


def plain_fdbpl(batch: Batch, text: Tensor, o: FdbplOptions) -> dict[str, float]:
    """The weighted terms that have a weight, a region and a class at a time."""
    teacher, features = batch.teacher.exp().tolist(), batch.student.tolist()
    areas, levels, refined = (
        batch.require("areas").tolist(),
        batch.require("levels").tolist(),
        batch.require("refined").exp().tolist(),
    )
    u, v = text.tolist()
    classes, count = len(u), len(features)
    e = u
    if o.similarity == "difference":
        e = [plain_unit(less(a, b, o.negative_share)) for a, b in zip(u, v, strict=True)]
    s = plain_differences(batch, text, o)
    margins = plain_margins(o)
    values: dict[str, list[float]] = {
        key: [] for key in ("sim", "pro", "rej", "keep", "mut", "dif")
    }
    weights, labels = [], []
    for region, (p, f) in enumerate(zip(teacher, features, strict=True)):
        weights.append(plain_weight(p, areas[region], levels, o))
        labels.append(p.index(max(p)))
        z_plus, z_minus, z = ([SCALE * dot(f, row) for row in side] for side in (u, v, e))
        decided, minus = softmax(z), softmax(z_minus)
        values["sim"].append((divergence(p, decided) + divergence(decided, p)) / 2)
        values["pro"].append(divergence(refined[region], decided))
        if o.rejection == "uniform":
            values["rej"].append(divergence([1 / classes] * classes, minus))
        else:
            values["rej"].append(sum(x * math.log(x) for x in minus))
        values["keep"].append(-math.log(minus[labels[-1]]))
        if o.mutual == "centred":
            z_plus = [x - sum(z_plus) / classes for x in z_plus]
            z_minus = [x - sum(z_minus) / classes for x in z_minus]
        norms = math.sqrt(dot(z_plus, z_plus) * dot(z_minus, z_minus))
        values["mut"].append(dot(z_plus, z_minus) / norms)
        values["dif"].append(max(0.0, margins[0] - s[region][labels[-1]]))

    def mean(key: str, w: list[float]) -> float:
        return dot(w, values[key]) / (count if o.normalise == "batch" else max(sum(w), 1e-12))

    second = 0.0 if o.second == "released" else plain_hinge(s, labels, weights, margins[1])
    terms = {
        "similarity": (1.0, mean("sim", weights)),
        "prototypes": (o.prototype_weight, mean("pro", weights)),
        "rejection": (o.rejection_weight, mean("rej", [1 - w for w in weights])),
        "keeping": (o.keep_weight, mean("keep", weights)),
        "mutual": (o.mutual_weight, mean("mut", weights)),
        "first_difference": (o.first_weight, mean("dif", weights)),
        "second_difference": (o.second_weight, second),
    }
    return {name: weight * value for name, (weight, value) in terms.items() if weight}


options = st.builds(
    FdbplOptions,
    weight=st.sampled_from(["entropy", "rank", "area", "none"]),
    weight_power=st.sampled_from([1.0, 0.5, 2.0]),
    weight_temperature=st.sampled_from([1.0, 0.5, 3.0]),
    normalise=st.sampled_from(["batch", "sum"]),
    similarity=st.sampled_from(["positive", "difference"]),
    prototype_weight=st.sampled_from([0.0, 0.5, 2.0]),
    rejection=st.sampled_from(["uniform", "entropy"]),
    rejection_weight=st.sampled_from([0.0, 1.0, 0.3]),
    keep_weight=st.sampled_from([0.0, 0.7]),
    mutual=st.sampled_from(["raw", "centred"]),
    mutual_weight=st.sampled_from([0.0, 0.001, 0.3]),
    difference_unit=st.sampled_from(["cosine", "logit", "direction"]),
    first_weight=st.sampled_from([0.0, 0.1, 2.0]),
    first_margin=st.sampled_from([None, 0.2, 0.0, 1.5]),
    second=st.sampled_from(["hinge", "released"]),
    second_weight=st.sampled_from([0.0, 0.1, 2.0]),
    second_margin=st.sampled_from([None, 0.2, 1.5]),
    negative_share=st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(max_examples=200, deadline=None)
@given(seed=seeds, chosen=options | st.sampled_from(list(PRESETS.values())))
def test_fdbpl_equals_its_formula(seed: int, chosen: FdbplOptions) -> None:
    batch, text = problem(seed)
    found = Fdbpl(chosen)(batch, text, SCALE)
    wanted = plain_fdbpl(batch, text, chosen)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value, rel=1e-10, abs=1e-12), name


@given(seed=seeds)
def test_weight_none_counts_every_region_fully(seed: int) -> None:
    batch, text = problem(seed)
    chosen = FdbplOptions(weight="none")
    found = Fdbpl(chosen)(batch, text, SCALE)
    for name, value in plain_fdbpl(batch, text, chosen).items():
        assert found[name].item() == pytest.approx(value, rel=1e-10, abs=1e-12), name
    assert found["rejection"].item() == 0


@given(seed=seeds)
def test_coop_is_the_cross_entropy_of_labels(seed: int) -> None:
    batch, text = problem(seed, sets=1)
    wanted = 0.0
    for f, label in zip(batch.student.tolist(), batch.labels.tolist(), strict=True):
        wanted -= math.log(softmax([SCALE * dot(f, u) for u in text[0].tolist()])[label]) / 6
    terms = coop(batch, text, SCALE)
    assert terms["cross_entropy"].item() == pytest.approx(wanted, rel=1e-10)


@given(seed=seeds, classes=st.integers(2, 6))
def test_kgcoop_is_coop_and_the_squared_distance_to_the_anchors(seed: int, classes: int) -> None:
    batch, text = problem(seed, classes=classes, sets=1)
    assert batch.anchors is not None
    distance = 0.0
    for u, a in zip(text[0].tolist(), batch.anchors.tolist(), strict=True):
        distance += sum((x - y) ** 2 for x, y in zip(u, a, strict=True)) / classes
    terms = kgcoop(batch, text, SCALE)
    assert list(terms) == ["cross_entropy", "knowledge"]
    assert terms["cross_entropy"] == coop(batch, text, SCALE)["cross_entropy"]
    assert terms["knowledge"].item() == pytest.approx(8 * distance, rel=1e-10)
    at_anchors = kgcoop(batch, batch.anchors[None], SCALE)
    assert at_anchors["knowledge"].item() == 0


def test_kgcoop_without_anchors_is_refused() -> None:
    batch, text = problem(0)
    with pytest.raises(UserError, match="none were given"):
        kgcoop(replace(batch, anchors=None), text, SCALE)


@given(seed=seeds)
def test_kdpl_w_is_the_symmetric_divergence_weighted_by_what_the_teacher_knows(seed: int) -> None:
    batch, text = problem(seed, sets=1)
    total = weights = 0.0
    for p, f in zip(batch.teacher.exp().tolist(), batch.student.tolist(), strict=True):
        q = softmax([SCALE * dot(f, u) for u in text[0].tolist()])
        w = 1 + sum(x * math.log(x) for x in p) / math.log(len(p))
        total += w * (divergence(p, q) + divergence(q, p)) / 2
        weights += w
    found = kdpl_w(batch, text, SCALE)["similarity"].item()
    assert found == pytest.approx(total / weights, rel=1e-10)


def test_equal_weights_make_kdpl_w_kdpl_and_no_weight_makes_it_0() -> None:
    batch, text = problem(5, sets=1)
    equal = replace(batch, teacher=batch.teacher[:1].expand(6, -1))
    for_each = [objective(equal, text, SCALE)["similarity"] for objective in (kdpl, kdpl_w)]
    assert for_each[0].item() == pytest.approx(for_each[1].item(), rel=1e-12)
    ignorant = replace(batch, teacher=torch.zeros(6, 5, dtype=torch.float64).log_softmax(-1))
    assert kdpl_w(ignorant, text, SCALE)["similarity"].item() == pytest.approx(0, abs=1e-3)


@given(seed=seeds)
def test_kdpl_is_the_symmetric_divergence(seed: int) -> None:
    batch, text = problem(seed, sets=1)
    wanted = 0.0
    for p, f in zip(batch.teacher.exp().tolist(), batch.student.tolist(), strict=True):
        q = softmax([SCALE * dot(f, u) for u in text[0].tolist()])
        wanted += (divergence(p, q) + divergence(q, p)) / 2 / 6
    assert kdpl(batch, text, SCALE)["similarity"].item() == pytest.approx(wanted, rel=1e-10)


EXTRAS_OFF = {
    "weight": "none",
    "similarity": "positive",
    "prototype_weight": 0,
    "rejection_weight": 0,
    "keep_weight": 0,
    "mutual_weight": 0,
    "first_weight": 0,
    "second_weight": 0,
    "inference": "positive",
    "template_share": 0,
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("changes", "plain"),
    [({}, kdpl), ({"weight": "entropy", "normalise": "sum"}, kdpl_w)],
)
@given(seed=seeds)
def test_fdbpl_without_its_extras_is_kdpl(preset, changes, plain, seed: int) -> None:
    batch, text = problem(seed)
    batch = replace(batch, areas=None, levels=None, refined=None)
    text.requires_grad_()
    method = trained_method(preset, {**EXTRAS_OFF, **changes})
    assert method.inference == POSITIVE_ONLY
    assert not method.needs
    ours = sum(method.objective(batch, text, SCALE).values())
    theirs = plain(batch, text, SCALE)["similarity"]
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    gradients = [torch.autograd.grad(loss, text)[0] for loss in (ours, theirs)]
    assert torch.allclose(*gradients, rtol=1e-12, atol=1e-15)


@given(seed=seeds, classes=st.integers(2, 9))
def test_the_released_second_difference_is_zero_in_value_and_gradient(seed, classes) -> None:
    _, text = problem(seed, classes=classes)
    text.requires_grad_()
    term = released_second_difference(text[0] - text[1])
    (gradient,) = torch.autograd.grad(term, text)
    assert abs(term.item()) < 1e-12
    assert gradient.abs().max() < 1e-12


def test_the_released_second_difference_is_the_released_sum_over_ordered_pairs() -> None:
    difference = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    total = sum((difference[i] - difference[j]).mean() for i in range(4) for j in range(4))
    assert released_second_difference(difference).item() == pytest.approx(total.item(), abs=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_runs_in_one_batch_are_as_each_alone(name: str) -> None:
    objective = trained_method(name).objective
    runs = [problem(seed) for seed in (1, 2, 3)]
    as_each_alone(objective, runs)


@pytest.mark.parametrize("weight", ["entropy", "rank", "area", "none"])
def test_runs_in_one_batch_are_as_each_alone_with_every_term(weight: str) -> None:
    objective = Fdbpl(FdbplOptions(weight=weight, prototype_weight=1, keep_weight=1))
    runs = [problem(seed) for seed in (1, 2, 3)]
    as_each_alone(objective, runs)
    as_each_alone(objective.diagnose, runs)


def as_each_alone(objective: Objective, runs: list[tuple[Batch, Tensor]]) -> None:
    parts = {
        field.name: torch.stack([getattr(batch, field.name) for batch, _ in runs])
        for field in fields(Batch)
    }
    together = objective(Batch(**parts), torch.stack([text for _, text in runs]), SCALE)
    for run, (batch, text) in enumerate(runs):
        alone = objective(batch, text, SCALE)
        assert together.keys() == alone.keys()
        for term, value in alone.items():
            assert together[term].expand(3)[run].item() == pytest.approx(value.item(), rel=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_gradients_reach_both_contexts(name: str) -> None:
    batch, text = problem(3)
    text.requires_grad_()
    terms = trained_method(name).objective(batch, text, SCALE)
    (gradient,) = torch.autograd.grad(sum(terms.values()), text)
    assert (gradient.flatten(1).norm(dim=1) > 1e-6).all()


def test_each_term_reaches_the_context_it_is_for() -> None:
    batch, text = problem(3)
    text.requires_grad_()
    reached = {}
    for name, term in Fdbpl(PRESETS["paper"])(batch, text, SCALE).items():
        (gradient,) = torch.autograd.grad(term, text, retain_graph=True)
        reached[name] = tuple((gradient.flatten(1).norm(dim=1) > 0).tolist())
    assert reached == {
        "similarity": (True, False),
        "rejection": (False, True),
        "mutual": (True, True),
        "first_difference": (True, True),
        "second_difference": (True, True),
    }


@pytest.mark.parametrize("name", ["kdpl", "kdpl_w", *PRESETS])
def test_methods_without_labels_do_not_read_them(name: str) -> None:
    batch, text = problem(4)
    other = replace(batch, labels=(batch.labels + 1) % 5)
    objective = trained_method(name).objective
    terms = [objective(given, text, SCALE) for given in (batch, other)]
    assert all(terms[0][key].item() == terms[1][key].item() for key in terms[0])


def test_the_presets_are_as_the_record_has_them() -> None:
    paper: dict[str, Any] = {
        "weight": "entropy",
        "weight_power": 1.0,
        "weight_temperature": 1.0,
        "normalise": "batch",
        "similarity": "positive",
        "prototype_weight": 0.0,
        "rejection": "uniform",
        "rejection_weight": 1.0,
        "keep_weight": 0.0,
        "mutual": "raw",
        "mutual_weight": 0.001,
        "difference_unit": "cosine",
        "first_weight": 0.1,
        "first_margin": None,
        "second": "hinge",
        "second_weight": 0.1,
        "second_margin": None,
        "negative_start": "a photo of no",
        "inference": "positive",
        "negative_share": 0.5,
        "template_share": 0.0,
    }
    assert PRESETS["paper"].model_dump() == paper
    assert PRESETS["paper"].margins == (0.2, 0.2)
    released = {**paper, "rejection": "entropy", "second": "released"}
    assert PRESETS["released"].model_dump() == released
    assert PRESETS["fdbpl"].model_dump() == {
        **paper,
        "weight": "area",
        "normalise": "sum",
        "similarity": "difference",
        "prototype_weight": 0.5,
        "rejection_weight": 0.0,
        "mutual_weight": 0.0,
        "difference_unit": "logit",
        "first_weight": 0.0,
        "second_weight": 0.0,
        "inference": "difference",
        "template_share": 1.0,
    }


def test_a_presets_inference_and_needs() -> None:
    assert trained_method("fdbpl").inference == Inference(0.5, 1.0)
    assert trained_method("fdbpl").needs == {"refined"}
    assert trained_method("fdbpl", {"weight": "rank"}).needs == {"levels", "refined"}
    for name in set(TRAINED) - {"fdbpl"}:
        assert trained_method(name).inference == POSITIVE_ONLY
        assert not trained_method(name).needs


WHOLE = {"prototype_weight": 0.5, "keep_weight": 0.5, "mutual_weight": 0.5, "weight": "entropy"}
"""Changes of `paper` under which every term counts."""

ALTERNATIVES: dict[str, tuple[dict[str, Any], Any]] = {
    "weight": ({}, "area"),
    "weight_power": ({}, 2.0),
    "weight_temperature": ({}, 2.0),
    "normalise": ({}, "sum"),
    "similarity": ({}, "difference"),
    "prototype_weight": ({}, 0.1),
    "rejection": ({}, "entropy"),
    "rejection_weight": ({}, 0.1),
    "keep_weight": ({}, 0.1),
    "mutual": ({}, "centred"),
    "mutual_weight": ({}, 0.1),
    "difference_unit": ({}, "logit"),
    "first_weight": ({}, 0.5),
    "first_margin": ({}, 0.9),
    "second": ({}, "released"),
    "second_weight": ({}, 0.5),
    "second_margin": ({}, 0.9),
    "negative_start": ({}, "a picture without any"),
    "inference": ({}, "difference"),
    "negative_share": ({"similarity": "difference"}, 0.8),
    "template_share": ({}, 1.0),
}
"""For each option what else is changed, and its other value."""


@pytest.mark.parametrize("option", FdbplOptions.model_fields)
def test_every_option_changes_the_loss_the_start_or_the_inference(option: str) -> None:
    batch, text = problem(1)
    also, value = ALTERNATIVES[option]

    def effect(changes: dict[str, Any]) -> tuple[dict[str, float], Inference, tuple[str, ...]]:
        method = trained_method("paper", {**WHOLE, **also, **changes})
        terms = method.objective(batch, text, SCALE)
        return {k: term.item() for k, term in terms.items()}, method.inference, method.starts

    before, after = effect({}), effect({option: value})
    assert before[0].keys() == after[0].keys()
    moved = any(abs(after[0][name] - before[0][name]) > 1e-4 for name in before[0])
    assert moved or before[1:] != after[1:]


def test_a_share_of_the_negative_side_reaches_the_inference_that_asks_for_it() -> None:
    for share in (0.0, 0.3):
        asking = trained_method("paper", {"inference": "difference", "negative_share": share})
        assert asking.inference == Inference(share, 0.0)
        assert trained_method("paper", {"negative_share": share}).inference == POSITIVE_ONLY


@pytest.mark.parametrize(
    ("changes", "extra", "says"),
    [
        ({"weight": "area"}, "areas", r"learn\(areas="),
        ({"weight": "rank"}, "levels", "name it in its `needs`"),
        ({"prototype_weight": 1}, "refined", "name it in its `needs`"),
    ],
)
def test_what_an_objective_needs_and_has_not_is_named(changes, extra: str, says: str) -> None:
    batch, text = problem(0)
    objective = Fdbpl(with_overrides("paper", changes))
    with pytest.raises(UserError, match=f"this method needs {extra}.*{says}"):
        objective(replace(batch, **{extra: None}), text, SCALE)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, chosen=options, regions=st.integers(2, 7))
def test_the_diagnosis_equals_plain_loops(seed: int, chosen: FdbplOptions, regions: int) -> None:
    batch, text = problem(seed, regions=regions)
    found = Fdbpl(chosen).diagnose(batch, text, SCALE)
    s, (first, second) = plain_differences(batch, text, chosen), plain_margins(chosen)
    teacher = batch.teacher.exp().tolist()
    labels = [p.index(max(p)) for p in teacher]
    pairs = [(a, b) for a in range(regions) for b in range(regions) if labels[a] != labels[b]]
    active = [
        second + (s[b][labels[a]] - s[b][labels[b]]) - (s[a][labels[a]] - s[a][labels[b]]) > 0
        for a, b in pairs
    ]
    areas, levels = batch.require("areas").tolist(), batch.require("levels").tolist()
    w = [plain_weight(p, area, levels, chosen) for p, area in zip(teacher, areas, strict=True)]
    order = sorted(range(regions), key=lambda region: -w[region])  # stable: ties by place
    half = (regions + 1) // 2
    v = text[1].tolist()
    disorder = [
        1 - plain_informativeness(softmax([SCALE * dot(f, row) for row in v]))
        for f in batch.student.tolist()
    ]
    cosines = [dot(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j]
    wanted = {
        "first_hinges_active": sum(s[b][y] < first for b, y in enumerate(labels)) / regions,
        "second_hinges_active": sum(active) / max(len(pairs), 1),
        "negative_entropy_informative": sum(disorder[b] for b in order[:half]) / half,
        "negative_entropy_uninformative": sum(disorder[b] for b in order[half:]) / (regions - half),
        "negative_cosine": sum(cosines) / len(cosines),
    }
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_the_table_knows_every_method() -> None:
    for name in TRAINED:
        method = trained_method(name)
        assert method.name == name
        assert method.starts[0] == "a photo of a"
        assert method.starts[1:] == (("a photo of no",) if name in PRESETS else ())
    assert set(TRAINED) < set(KNOWN)
    with pytest.raises(UserError, match="'zero_shot' is not trained, wanted one of coop, kgcoop"):
        trained_method("zero_shot")
    with pytest.raises(UserError, match="'coop' has no options"):
        trained_method("coop", {"weight": "none"})


def test_changed_options_enter_the_record() -> None:
    method = trained_method("fdbpl", {"first_margin": 0.05})
    assert method.options["first_margin"] == 0.05
    with pytest.raises(UserError, match=r"unknown key 'objectives\.fdbpl\.margin'"):
        trained_method("fdbpl", {"margin": 0.05})
