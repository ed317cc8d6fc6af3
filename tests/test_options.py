"""FDBPL's options: what the presets say, and that each option does something."""

from typing import Any

import pytest
from kinds import TRAINED
from plain import SCALE, problem

from fdbpl.methods.gda import SHARE
from fdbpl.methods.options import PRESETS, FdbplOptions
from fdbpl.methods.prompts import POSITIVE_ONLY, Inference
from fdbpl.methods.registry import find_method


def test_the_presets_are_as_the_record_has_them() -> None:
    paper: dict[str, Any] = {
        "weight": "entropy",
        "weight_floor": 0.0,
        "normalise": "batch",
        "similarity": "positive",
        "rejection": "uniform",
        "rejection_weight": 1.0,
        "mutual_weight": 0.001,
        "first_weight": 0.1,
        "first_margin": 0.2,
        "second": "hinge",
        "second_weight": 0.1,
        "second_margin": 0.2,
        "negative_start": "a photo of no",
        "inference": "positive",
        "negative_share": 0.5,
        "template_share": 0.0,
    }
    assert PRESETS["paper"].model_dump() == paper
    released = {
        **paper,
        "weight_floor": 1e-6,
        "rejection": "entropy",
        "first_weight": 0.0,
        "second": "released",
    }
    assert PRESETS["released"].model_dump() == released
    ours = {
        **paper,
        "weight": "area",
        "normalise": "sum",
        "similarity": "difference",
        "rejection_weight": 0.0,
        "mutual_weight": 0.0,
        "first_weight": 0.0,
        "second_weight": 0.0,
        "inference": "difference",
        "template_share": 1.0,
    }
    assert PRESETS["fdbpl"].model_dump() == PRESETS["fdbpl_prompts"].model_dump() == ours


def test_a_presets_inference() -> None:
    assert find_method("fdbpl_prompts").inference == Inference(0.5, 1.0)
    for name in TRAINED:
        assert not find_method(name).closed_form
        if name != "fdbpl_prompts":
            assert find_method(name).inference == POSITIVE_ONLY


def test_rows_that_tell_what_contexts_earn_decide_as_ours_does_but_for_the_contexts() -> None:
    ours = find_method("fdbpl")
    assert ours.inner.options == find_method("fdbpl_prompts").options
    for name in ("template", "coop", "kgcoop", "tcp", "kdpl"):
        row = find_method(f"{name}_bridge")
        alone = find_method("zero_shot" if name == "template" else name)
        assert row.bridge == ours.bridge
        assert type(row.inner) is type(alone)
        assert row.inner.training == alone.training
    for name in ("template", "coop", "kgcoop", "tcp", "kdpl"):
        remembering = find_method(f"{name}_memory")
        assert remembering.bridge == ours.bridge
        assert remembering.inner.inference == Inference(memory_share=SHARE)
    teacher = find_method("gda_teacher").inference
    assert teacher == Inference(template_share=1.0, memory_share=SHARE, gda=True)


ALTERNATIVES: dict[str, tuple[dict[str, Any], Any]] = {
    "weight": ({}, "area"),
    "weight_floor": ({}, 0.1),
    "normalise": ({}, "sum"),
    "similarity": ({}, "difference"),
    "rejection": ({}, "entropy"),
    "rejection_weight": ({}, 0.1),
    "mutual_weight": ({}, 0.1),
    "first_weight": ({}, 0.5),
    "first_margin": ({}, 0.9),
    "second": ({}, "released"),
    "second_weight": ({}, 0.5),
    "second_margin": ({}, 0.9),
    "negative_start": ({}, "a picture without any"),
    "inference": ({}, "difference"),
    "negative_share": ({"similarity": "difference"}, 0.8),
    "template_share": ({"similarity": "difference"}, 1.0),
}
"""For each option what else is changed, and its other value."""


@pytest.mark.parametrize("option", FdbplOptions.model_fields)
def test_every_option_changes_the_training_or_the_inference(option: str) -> None:
    batch, text = problem(1)
    also, value = ALTERNATIVES[option]
    changes: tuple[dict[str, Any], ...] = ({}, {option: value})
    before, after = (find_method("paper", {**also, **more}) for more in changes)
    old, new = (method.objective(batch, text, SCALE) for method in (before, after))
    assert old.keys() == new.keys()
    moved = any(abs(new[name].item() - old[name].item()) > 1e-4 for name in old)
    learns_otherwise = moved or before.starts != after.starts
    assert learns_otherwise == (before.training != after.training)
    assert learns_otherwise or before.inference != after.inference


def test_no_two_agree_in_their_training() -> None:
    of = {name: find_method(name).training for name in TRAINED}
    assert len(set(map(str, of.values()))) == len(TRAINED)


def test_a_share_of_the_negative_side_reaches_the_inference_that_asks_for_it() -> None:
    for share in (0.0, 0.3):
        asking = find_method("paper", {"inference": "difference", "negative_share": share})
        assert asking.inference == Inference(share, 0.0)
        assert find_method("paper", {"negative_share": share}).inference == POSITIVE_ONLY
