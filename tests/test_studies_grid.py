from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.methods.options import PRESETS, FdbplOptions
from fdbpl.settings.params import Params, check_params
from fdbpl.system.errors import UserError
from studies.ablation.grid import (
    DEFAULT,
    REFERENCE,
    Factor,
    Setting,
    changed,
    parse_factor,
    settings_of,
    spell,
)

MODEL = {"architecture": "small", "weights": "tiny"}


def params(**changes: object) -> Params:
    raw = {"datasets": ["dtd"], "methods": ["coop"], "student": MODEL, "teacher": MODEL}
    return check_params({**raw, **changes})


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("train.lr=1e-3, 0.02", "train.lr", (0.001, 0.02)),  # which YAML takes for text
        ("cache.payload=float16", "cache.payload", ("float16",)),
        ("fdbpl.first_margin=-0.5", "fdbpl.first_margin", (-0.5,)),
        ("data.allow_unreadable_test_images=true", "data.allow_unreadable_test_images", (True,)),
        ("regions.ratio=1:30,0.3:1", "regions.ratio", ([1, 30], [0.3, 1])),  # YAML: 90
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


@pytest.mark.parametrize(
    ("cross", "names"),
    [
        (False, ["train.batch=64", "train.batch=128", "fdbpl.template_share=0"]),
        (
            True,
            [
                "fdbpl.template_share=0",
                "train.batch=64",
                "train.batch=64, fdbpl.template_share=0",
                "train.batch=128",
                "train.batch=128, fdbpl.template_share=0",
            ],
        ),
    ],
)
def test_one_at_a_time_and_the_product_leave_out_what_changes_nothing(
    cross: bool, names: list[str]
) -> None:
    own = PRESETS["fdbpl"].template_share
    factors = [Factor("train.batch", (32, 64, 128)), Factor("fdbpl.template_share", (own, 0, 0.0))]
    found = settings_of(params(), factors, cross=cross)  # of a reference with batches of 32
    assert [one.name for one in found] == [REFERENCE, *names]
    for one in found:
        assert one.params.train.batch == one.changes.get("train.batch", 32)
        share = {"template_share": 0} if "fdbpl.template_share" in one.changes else None
        assert one.params.objectives.get("fdbpl") == share


def test_a_changed_preset_keeps_what_params_change_already() -> None:
    reference = params(objectives={"fdbpl": {"first_weight": 0.7}})
    found = changed(reference, {"fdbpl.second_weight": 0.9, "paper.first_weight": 0.2})
    assert found.objectives == {
        "fdbpl": {"first_weight": 0.7, "second_weight": 0.9},
        "paper": {"first_weight": 0.2},
    }
    assert reference.objectives == {"fdbpl": {"first_weight": 0.7}}


@pytest.mark.parametrize(
    ("changes", "touched"),
    [
        ({}, {"kdpl", "fdbpl"}),
        ({"train.lr": 1}, {"kdpl", "fdbpl"}),
        ({"fdbpl.first_weight": 1}, {"fdbpl"}),
        ({"paper.first_weight": 1}, set()),
        ({"paper.first_weight": 1, "train.lr": 1}, {"kdpl", "fdbpl"}),
    ],
)
def test_options_of_a_preset_touch_it_alone(changes: dict[str, Any], touched: set[str]) -> None:
    setting = Setting(changes, params())
    assert {name for name in ("kdpl", "fdbpl") if setting.touches(name)} == touched


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


UNREAD = {"weight_floor", "negative_start"}
"""What the released code computes, and free text, which has no alternatives to try."""

OF_TERMS_THAT_ARE_OFF = {"rejection", "first_margin", "second_margin", "second"}


def test_the_default_grid_tries_every_option_that_is_read() -> None:
    factors = [parse_factor(text) for text in DEFAULT]
    settings = settings_of(params(), factors, cross=False)  # raises if a value is not allowed
    varied = {key for one in settings for key in one.changes}
    assert varied == {factor.key for factor in factors}
    options = {key.partition(".")[2] for key in varied if key.startswith("fdbpl.")}
    assert options == set(FdbplOptions.model_fields) - UNREAD - OF_TERMS_THAT_ARE_OFF
    own = PRESETS["fdbpl"]
    assert own.first_weight == own.second_weight == own.rejection_weight == 0
