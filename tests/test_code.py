"""The digests of code cover what decides: what they lack would let old results pass for new."""

import pytest
from fdbpl.code import CODE_OF_INPUTS, CODE_OF_TRAINING
from test_dvc_yaml import ALWAYS_ASIDE, ASIDE, closure, lies_under, module_of

CONTENT = {
    "fdbpl/code.py": "a digest decides no result",
    "fdbpl/stages/made_with.py": "the values are in the key themselves",
    "fdbpl/methods/names.py": "params.py checks names by them",
    "fdbpl/settings/params.py": "the values are in the key themselves, defaults included",
    "fdbpl/clip/weights.py": "says where weights come from; the caches hold what they make",
}


@pytest.mark.parametrize(
    ("parts", "stages"),
    [
        (CODE_OF_INPUTS, ("prepare-crops", "cache-teacher")),
        (CODE_OF_TRAINING, ("train-student", "evaluate")),
    ],
)
def test_what_stages_stand_on_is_in_the_digest(parts: tuple[str, ...], stages: tuple[str]) -> None:
    covered = [f"fdbpl/{part}" for part in parts]
    for stage in stages:
        aside = {**ALWAYS_ASIDE, **ASIDE[stage], **CONTENT}
        known = [*covered, *aside]
        left = {path for path in closure(module_of(stage)) if not lies_under(path, known)}
        assert not left, stage
