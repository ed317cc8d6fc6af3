"""A model between other class names than its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from student_models import NAMES, TEMPLATE, zero_shot
from taught import NAMES as LEARNED
from taught import STUDENT, TEACHER, Taught, learn

from fdbpl.classify.artifact import Artifact
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from fdbpl.clip.vectors import template_vectors
from fdbpl.learning.model import save
from fdbpl.serving.class_names import predictor_of_names
from fdbpl.serving.make import Made, save_model
from fdbpl.serving.model_folder import CLASSIFIER, open_model
from fdbpl.serving.predictor import Predictor, predictor_of
from fdbpl.system.errors import UserError

OTHERS = ("snow leopard", "owl", "red star")


def noise(predictor: Predictor) -> np.ndarray:
    size = predictor.preprocessing.image_size
    return np.random.default_rng(0).standard_normal((4, 3, size, size)).astype(np.float32)


@pytest.fixture(scope="module")
def student(made_model: Made, tmp_path_factory: pytest.TempPathFactory) -> ModelParams:
    """The student's weights in a file, as whoever got the model has them."""
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    state = made_model.clip.network.state_dict()
    save_file({name: one.contiguous().clone() for name, one in state.items()}, path)
    architecture = made_model.clip.identity["architecture"]
    return ModelParams(architecture=architecture, weights=str(path), activation="gelu")


def test_other_names_give_what_a_fresh_zero_shot_classifier_gives(
    made_model: Made, model_path: Path, student: ModelParams
) -> None:
    found = predictor_of_names(open_model(model_path), OTHERS, 1, student)
    vectors = template_vectors(made_model.clip, OTHERS, TEMPLATE)
    pixels = noise(found)
    wanted = made_model.clip.logit_scale * found.tower(pixels) @ vectors.T
    assert np.abs(found.logits(pixels) - wanted).max() < 1e-4
    assert found.class_names == OTHERS
    assert {one.known for one in found.predictions(pixels)} == {None}
    assert found.calibration == predictor_of(open_model(model_path)).calibration


def test_its_own_names_give_its_own_logits_in_any_order(model_path, student) -> None:
    turned = NAMES[::-1]
    own = predictor_of(open_model(model_path), 1)
    found = predictor_of_names(open_model(model_path), turned, 1, student)
    pixels = noise(own)
    assert np.abs(found.logits(pixels)[:, ::-1] - own.logits(pixels)).max() < 1e-4


def test_weights_that_were_a_file_are_asked_for(model_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights of its student are a file .* by --student test-"):
        predictor_of_names(open_model(model_path), OTHERS)


def test_other_weights_are_refused(model_path: Path, make_model, student, tmp_path) -> None:
    other = make_model(seed=5)
    path = tmp_path / "other.safetensors"
    save_file({n: one.contiguous().clone() for n, one in other.network.state_dict().items()}, path)
    for params in (
        student.model_copy(update={"weights": str(path)}),
        student.model_copy(update={"activation": "quickgelu"}),
        STUDENT,
    ):
        with pytest.raises(UserError, match=r"learned with a student of .* Give the same weights"):
            predictor_of_names(open_model(model_path), OTHERS, 1, params)


def test_a_method_of_the_makers_own_is_refused(made_model: Made, student, tmp_path: Path) -> None:
    own = type("Mine", (type(made_model.method),), {})("Mine", "Mine", "template")
    save_model(tmp_path / "model", replace(made_model, method=own), {})
    assert predictor_of(open_model(tmp_path / "model")).class_names == NAMES
    with pytest.raises(UserError, match="learned by 'Mine', a method of its maker's own"):
        predictor_of_names(open_model(tmp_path / "model"), OTHERS, 1, student)


@pytest.mark.parametrize("names", [(), ("owl",)])
def test_one_name_is_no_choice(model_path: Path, student, names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="wanted two at least"):
        predictor_of_names(open_model(model_path), names, 1, student)


def test_a_name_too_long_is_told(model_path: Path, student: ModelParams) -> None:
    with pytest.raises(UserError, match=r"very very.* tokens"):
        predictor_of_names(open_model(model_path), ("owl", "very " * 99), 1, student)


def again(taught: Taught, method: str) -> Taught:
    """Learn by one method alone: all of it is looked up."""
    return learn(taught.request.pictures, taught.path.parent, methods=[method])


@pytest.fixture(scope="module")
def learned(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """A model of a method that learns rows of classes."""
    found = again(taught, "linear_probe_text")
    path = tmp_path_factory.mktemp("probe") / "model"
    save(path, found.made)
    return replace(found, path=path)


def test_classes_that_were_learned_keep_their_rows_among_others(learned: Taught) -> None:
    model = open_model(learned.path)
    names = ("red star", LEARNED[3], "owl", LEARNED[0])
    own, found = predictor_of(model, 1), predictor_of_names(model, names, 1)
    pixels = noise(own)
    before, after = own.logits(pixels), found.logits(pixels)
    assert np.abs(after[:, [1, 3]] - before[:, [3, 0]]).max() < 1e-4
    clip = load_model(STUDENT, "student")
    vectors = template_vectors(clip, (names[0], names[2]), TEMPLATE)
    wanted = clip.logit_scale * own.tower(pixels) @ vectors.T
    assert np.abs(after[:, [0, 2]] - wanted).max() < 1e-3


def test_what_was_learned_and_the_teacher_are_found_in_the_model(taught: Taught) -> None:
    """Its own names give its own decision, whichever method was taken."""
    model = open_model(taught.path)
    own, found = predictor_of(model, 1), predictor_of_names(model, LEARNED, 1)
    assert np.abs(found.logits(noise(own)) - own.logits(noise(own))).max() < 1e-3
    assert np.isfinite(predictor_of_names(model, OTHERS, 1).logits(noise(own))).all()


def test_a_bridge_wants_the_teacher_that_it_was_built_with(taught: Taught, tmp_path: Path) -> None:
    found = again(taught, "template_memory")
    width = load_model(TEACHER, "teacher").network.text_projection.shape[-1]
    learned = dict(found.outcome.learned.arrays)
    if "bridge" not in learned:  # it is built where it helps, and here it need not
        student_width = found.outcome.decision.vectors.shape[1]
        learned["bridge"] = np.zeros((student_width, 1 + student_width + width), np.float32)
    prompts = Artifact(learned, found.made.prompts.about)
    of_file = replace(found.made, prompts=prompts,
                      teacher={**found.made.teacher, "weights": "file " + "0" * 64})  # fmt: skip
    save_model(tmp_path / "model", of_file, {})
    model = open_model(tmp_path / "model")
    with pytest.raises(UserError, match=r"weights of its teacher .* Give it by --teacher fdbpl-"):
        predictor_of_names(model, OTHERS)
    with pytest.raises(UserError, match="learned with a teacher of weights 'file 0000"):
        predictor_of_names(model, OTHERS, teacher=TEACHER)
    save_model(tmp_path / "sound", replace(found.made, prompts=prompts), {})
    for teacher in (None, TEACHER):
        sound = predictor_of_names(open_model(tmp_path / "sound"), OTHERS, teacher=teacher)
        assert sound.class_names == OTHERS


def test_the_classifier_says_what_was_learned(learned: Taught) -> None:
    model = open_model(learned.path)
    told = Artifact.of(model.read(CLASSIFIER), model.path, "classifier").about
    assert told["learned_classes"] == list(LEARNED)
    assert told["options"] == {}
    assert zero_shot(learned.outcome.clip).classifier.about["learned_classes"] == []
