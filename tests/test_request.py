"""What somebody wants learned: parameters that follow, and what is refused before any work."""

from pathlib import Path

import pytest
from taught import STUDENT, TEACHER

from fdbpl.clip.params import ModelParams, named_model
from fdbpl.learning.request import FOLDS, LABELLED, NAME, UNLABELLED, Request
from fdbpl.methods.registry import METHODS, usable
from fdbpl.system.errors import UserError


def test_by_default_methods_are_tried_that_take_no_steps_and_judge_what_a_model_sees() -> None:
    for labelled, names in ((True, LABELLED), (False, UNLABELLED)):
        params = Request(Path("pictures")).params(labelled=labelled)
        assert params.methods == list(names)
        assert not any(METHODS[name].takes_steps for name in names)
        assert {METHODS[name].sees for name in names} <= {"student", "hidden"}
        assert len(usable(params.chosen_methods, labels=labelled)) == len(names)


def test_methods_asked_for_are_tried_in_their_order() -> None:
    request = Request(Path("pictures"), methods=["gda", "coop", "zero_shot"])
    for labelled in (True, False):
        assert request.params(labelled=labelled).methods == ["gda", "coop", "zero_shot"]


@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_there_is_a_training_of_all_and_one_without_each_fold(seed: int) -> None:
    request = Request(Path("pictures"), seed=seed)
    assert request.keys[0] == seed
    assert len(set(request.keys)) == FOLDS + 1
    assert request.params(labelled=True).seeds == request.keys


def test_what_is_asked_for_reaches_the_parameters(tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    request = Request(tmp_path / "table.csv", template="{}!", student=STUDENT, teacher=TEACHER,
                      shots=3, crops=2, device="cpu", store="memory://x")  # fmt: skip
    found = request.params(labelled=True)
    assert found.student.model_dump(include={"architecture", "weights"}) == {
        "architecture": STUDENT.architecture, "weights": "tiny"
    }  # fmt: skip
    assert found.teacher.architecture == TEACHER.architecture
    assert (found.shots, found.regions.per_image) == (3, 2)
    assert (found.device, found.cache.store) == ("cpu", "memory://x")
    assert found.data.own[NAME].template == "{}!"
    assert found.data.own[NAME].table == str(tmp_path / "table.csv")
    assert Request(tmp_path).params(labelled=True).data.own[NAME].folder == str(tmp_path)
    named = Request(tmp_path, names=Path("n.txt"), test=Path("t")).params(labelled=False)
    own = named.data.own[NAME]
    assert (own.images, own.names, own.test) == (str(tmp_path), "n.txt", "t")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": ["teacher"]}, "judges what the teacher sees, and a model has the student's"),
        ({"methods": ["copo"]}, "'methods' is .*'copo'.*, wanted"),
        ({"template": "no name"}, "template' is 'no name', wanted"),
        ({"shots": 0}, "'shots' is 0, wanted"),
        ({"crops": 0}, "per_image' is 0, wanted"),
        (
            {"student": ModelParams(architecture="ViT-B-32", weights="openai", precision="bf16")},
            r"student.precision is 'bf16', wanted fp32",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_at_once(changes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Request(Path("pictures"), **changes).params(labelled=True)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for changes in ({}, {"names": gone}, {"names": tmp_path, "test": gone}):
        request = Request(**{"pictures": tmp_path if changes else gone, **changes})
        with pytest.raises(UserError, match=f"{gone}: no such file or folder, wanted the"):
            request.require_there()
    with pytest.raises(UserError, match="a test beside pictures that have classes"):
        Request(tmp_path, test=tmp_path).require_there()
    Request(tmp_path, names=tmp_path, test=tmp_path).require_there()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ViT-B-32:openai", ("ViT-B-32", "openai", None)),
        ("ViT-B-32:w.safetensors:gelu", ("ViT-B-32", "w.safetensors", "gelu")),
        ("a:b:c", ("a", "b:c", None)),
        ("a:C:w.bin:quickgelu", ("a", "C:w.bin", "quickgelu")),
        ("a:gelu", ("a", "gelu", None)),
    ],
)
def test_a_model_is_named_by_architecture_and_weights(text: str, wanted) -> None:
    found = named_model(text, "--student")
    assert (found.architecture, found.weights, found.activation) == wanted


@pytest.mark.parametrize("text", ["", ":", "a", "a:", ":b", "a::gelu"])
def test_half_a_name_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--student is .* wanted ARCHITECTURE:WEIGHTS"):
        named_model(text, "--student")
