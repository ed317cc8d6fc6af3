from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fdbpl.methods.batch import Batch
from fdbpl.methods.table import trained_method
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.ablation.grid import (
    REFERENCE,
    Factor,
    changed,
    default_factors,
    parse_factor,
    settings_of,
    spell,
)
from fdbpl.methods.fdbpl import Fdbpl
from fdbpl.methods.options import PRESETS, FdbplOptions, with_overrides
from fdbpl.settings.params import Params, check_params
from fdbpl.system.errors import UserError

MODEL = {"architecture": "small", "weights": "tiny"}


def params(**changes: object) -> Params:
    raw = {"datasets": ["dtd"], "methods": ["coop"], "student": MODEL, "teacher": MODEL}
    return check_params({**raw, **changes})


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("train.batch=32,128", "train.batch", (32, 128)),
        ("train.lr=1e-3, 0.02", "train.lr", (0.001, 0.02)),  # which YAML takes for text
        ("regions.scale=0.08:1,0.3:1", "regions.scale", ([0.08, 1], [0.3, 1])),
        ("cache.payload=float16", "cache.payload", ("float16",)),
        ("fdbpl.first_margin=-0.5", "fdbpl.first_margin", (-0.5,)),
        ("data.allow_unreadable_test_images=true", "data.allow_unreadable_test_images", (True,)),
        ("regions.ratio=1:30", "regions.ratio", ([1, 30],)),  # which YAML takes for 90
    ],
)
def test_a_factor_is_read(text: str, key: str, values: tuple[object, ...]) -> None:
    assert parse_factor(text) == Factor(key, values)


@given(
    st.lists(
        st.one_of(
            st.floats(-1e6, 1e6).map(lambda x: float(f"{x:.9g}")),
            st.integers(),
            st.booleans(),
            st.sampled_from(["float16", "own", "hinge"]),
            st.lists(st.floats(0.001, 9).map(lambda x: float(f"{x:.6g}")), min_size=2, max_size=2),
        ),
        min_size=1,
    )
)
def test_what_is_spelt_is_read_as_it_was(values: list[object]) -> None:
    text = f"a.b={','.join(map(spell, values))}"
    assert parse_factor(text) == Factor("a.b", tuple(values))


@pytest.mark.parametrize("text", ["", "train.lr", "=1", "train.lr=", "train.lr=1,,2", "a={"])
def test_what_is_no_factor_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--vary is "):
        parse_factor(text)


def test_one_factor_at_a_time() -> None:
    factors = [Factor("train.batch", (32, 64, 128)), Factor("fdbpl.template_share", (0.0,))]
    found = settings_of(params(), factors, cross=False)
    assert [one.name for one in found] == [
        REFERENCE,  # whose batch is 32
        "train.batch=64",
        "train.batch=128",
        "fdbpl.template_share=0",
    ]
    assert [one.params.train.batch for one in found] == [32, 64, 128, 32]
    assert found[3].params.objectives == {"fdbpl": {"template_share": 0}}


def test_the_product() -> None:
    factors = [Factor("train.batch", (32, 64)), Factor("train.epochs", (50, 5, 9))]
    names = [one.name for one in settings_of(params(), factors, cross=True)]
    assert names == [
        REFERENCE,
        "train.epochs=5",
        "train.epochs=9",
        "train.batch=64",
        "train.batch=64, train.epochs=5",
        "train.batch=64, train.epochs=9",
    ]


def test_equal_settings_stand_once() -> None:
    own = PRESETS["fdbpl"].second_weight
    factors = [Factor("fdbpl.second_weight", (own, 7, 7.0)), Factor("train.lr", (0.1, 0.1))]
    names = [one.name for one in settings_of(params(), factors, cross=False)]
    assert names == [REFERENCE, "fdbpl.second_weight=7", "train.lr=0.1"]


def test_a_changed_preset_keeps_what_params_change_already() -> None:
    reference = params(objectives={"fdbpl": {"first_weight": 0.7}})
    found = changed(reference, {"fdbpl.second_weight": 0.9, "paper.first_weight": 0.2})
    assert found.objectives == {
        "fdbpl": {"first_weight": 0.7, "second_weight": 0.9},
        "paper": {"first_weight": 0.2},
    }
    assert reference.objectives == {"fdbpl": {"first_weight": 0.7}}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("train.rate", 1, "unknown key 'train.rate'. Allowed here: lr"),
        ("train.lr", -1, "'train.lr' is -1, wanted a number greater than 0"),
        ("fdbpl.margin", 1, "unknown key 'objectives.fdbpl.margin'"),
        ("fdbpl.weight", "loud", "'objectives.fdbpl.weight' is 'loud'"),
        ("shots.count", 1, "shots has no keys below it"),
        ("kdpl.weight", 1, "unknown key 'kdpl'"),
        ("seeds", [1], "seeds cannot vary"),
        ("datasets", ["x"], "datasets cannot vary"),
        ("data.root", "x", "data cannot vary"),
    ],
)
def test_a_wrong_key_or_value_is_named(key: str, value: object, says: str) -> None:
    with pytest.raises(UserError, match="--vary") as error:
        settings_of(params(), [Factor(key, (value,))], cross=False)
    assert says in str(error.value)


def test_a_key_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"--vary train\.lr stands twice"):
        settings_of(params(), [Factor("train.lr", (1,)), Factor("train.lr", (2,))], cross=False)


def test_the_default_grid_is_valid_and_touches_every_live_option() -> None:
    reference = params()
    factors = default_factors(reference)
    settings = settings_of(reference, factors, cross=False)  # raises if a value is not allowed
    assert len(settings) > len(factors)
    varied = {factor.key.partition(".")[2] for factor in factors if factor.key.startswith("fdbpl.")}
    own = PRESETS["fdbpl"]
    assert varied >= {name for name in FdbplOptions.model_fields if name.endswith("_weight")}
    words = {name for name, field in FdbplOptions.model_fields.items() if field.annotation is str}
    assert words == {"negative_start"}  # free text has no alternatives to try
    for name in set(FdbplOptions.model_fields) - words - varied:
        other = own.model_copy(update={name: other_value(name, own)})
        assert bearing(other) == bearing(own), name
    assert {"regions.per_image", "regions.scale", "cache.payload"} < {one.key for one in factors}


ALL_TERMS = {f"{term}_weight": 0.5 for term in ("first", "second")}
NO_WEIGHT = {"weight": "none", "inference": "positive", "similarity": "positive"}


@pytest.mark.parametrize("own", [{}, {"weight": "entropy", **ALL_TERMS}, NO_WEIGHT])
def test_every_setting_of_the_default_grid_can_change_something(own: dict[str, Any]) -> None:
    reference = params(objectives={"fdbpl": own})
    bears = bearing(with_overrides("fdbpl", own))
    for factor in default_factors(reference):
        preset, _, option = factor.key.partition(".")
        for value in factor.values if preset == "fdbpl" else ():
            assert bearing(with_overrides("fdbpl", {**own, option: value})) != bears, factor.key


def other_value(name: str, own: FdbplOptions) -> Any:
    words = getattr(FdbplOptions.model_fields[name].annotation, "__args__", ())
    value = getattr(own, name)
    return next((word for word in words if isinstance(word, str) and word != value), 0.77)


def bearing(options: FdbplOptions) -> tuple[Any, ...]:
    """Return what training and deciding make of options: loss and gradient, and the inference."""
    rng = torch.Generator().manual_seed(0)
    student, text = (
        F.normalize(torch.randn(shape, generator=rng, dtype=torch.float64), dim=-1)
        for shape in ((6, 8), (2, 4, 8))
    )
    teacher = (3 * torch.randn(6, 4, generator=rng, dtype=torch.float64)).log_softmax(-1)
    batch = Batch(
        student=student,
        teacher=teacher,
        labels=teacher.argmax(dim=-1),
        areas=torch.rand(6, generator=rng, dtype=torch.float64),
    )
    text.requires_grad_()
    loss = torch.stack(list(Fdbpl(options)(batch, text, 10.0).values())).sum()
    (slope,) = torch.autograd.grad(loss, text)
    method = trained_method("fdbpl", options.model_dump())
    return (loss.item(), slope.flatten().tolist(), method.inference)


def test_the_default_grid_switches_terms_off_and_on() -> None:
    on = params(objectives={"fdbpl": {"mutual_weight": 0.5, "first_weight": 0.0}})
    values = {factor.key: factor.values for factor in default_factors(on)}
    assert values["fdbpl.mutual_weight"] == (0.0, 1.0)
    assert values["fdbpl.first_weight"] == (FdbplOptions().first_weight,)
    assert "fdbpl.first_margin" not in values
    off = params(objectives={"fdbpl": {"first_weight": 0.4, "difference_unit": "cosine"}})
    own = FdbplOptions(difference_unit="cosine").margins[0]  # half and double what None stands for
    values = {factor.key: factor.values for factor in default_factors(off)}
    assert values["fdbpl.first_margin"] == (own / 2, 2 * own)
    assert "fdbpl.second_margin" not in values
