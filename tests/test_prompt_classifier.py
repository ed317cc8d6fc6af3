"""`PromptClassifier`: scikit-learn's conventions, on pictures of every kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.validation import check_is_fitted
from taught import STUDENT, TEACHER, TINY, Taught

from fdbpl.data.images import opened
from fdbpl.learning.prompt_classifier import PromptClassifier
from fdbpl.serving.predictor import load_predictor
from fdbpl.serving.stream import answers
from fdbpl.system.errors import UserError

CHOSEN = ("black arrow", "pink moon", "yellow heart")
EACH = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of encoded regions: every fit here is of the same pictures."""
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def untaught(store: str) -> PromptClassifier:
    return PromptClassifier(student=TINY[1], teacher=TINY[3], method=["gda", "zero_shot"],
                            crops=1, device="cpu", store=store)  # fmt: skip


@pytest.fixture(scope="module")
def paths(class_pictures: Path) -> list[Path]:
    return [path for name in CHOSEN for path in sorted((class_pictures / name).iterdir())[:EACH]]


@pytest.fixture(scope="module")
def labels() -> list[str]:
    return [name for name in CHOSEN for _ in range(EACH)]


@pytest.fixture(scope="module")
def fitted(untaught: PromptClassifier, paths, labels) -> PromptClassifier:
    return clone(untaught).fit(paths, labels)


def small(untaught: PromptClassifier, **changes: Any) -> PromptClassifier:
    return clone(untaught).set_params(method="zero_shot", **changes)


def test_parameters_are_kept_as_they_were_given(untaught: PromptClassifier) -> None:
    found = untaught.get_params()
    assert found["student"] == f"{STUDENT.architecture}:tiny"
    assert found["teacher"] == f"{TEACHER.architecture}:tiny"
    assert clone(untaught).get_params() == found
    assert clone(untaught).set_params(shots=3, seed=2).get_params() == {
        **found, "shots": 3, "seed": 2
    }  # fmt: skip
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        clone(untaught).set_params(depth=3)


def test_nothing_is_predicted_before_it_is_fitted(untaught: PromptClassifier, paths) -> None:
    new = clone(untaught)
    for ask in (new.predict, new.predict_proba, new.decision_function, new.is_known):
        with pytest.raises(NotFittedError):
            ask(paths)
    with pytest.raises(NotFittedError):
        new.save("nowhere")
    with pytest.raises(NotFittedError):
        check_is_fitted(new)


def test_what_is_fitted_predicts_by_the_conventions(fitted, paths, labels) -> None:
    check_is_fitted(fitted)
    assert fitted.classes_.tolist() == sorted(CHOSEN)
    probabilities, logits = fitted.predict_proba(paths), fitted.decision_function(paths)
    assert probabilities.shape == logits.shape == (len(paths), 3)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (fitted.predict(paths) == fitted.classes_[probabilities.argmax(axis=1)]).all()
    assert (logits.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert fitted.score(paths, labels) > 0.6
    assert fitted.measured_["pictures"] == len(paths)
    assert len(fitted.predict([])) == len(fitted.is_known([])) == 0


def test_pictures_of_any_kind_teach_and_are_judged_alike(untaught, fitted, paths, labels) -> None:
    images = [opened(path) for path in paths]
    arrays = np.stack([np.asarray(image) for image in images])
    wanted = fitted.decision_function(paths)
    files = [path.read_bytes() for path in paths]
    for kind in (images, arrays, list(map(str, paths)), np.array(list(map(str, paths))), files):
        assert (fitted.decision_function(kind) == wanted).all()
    for kind in (images[0], arrays[0], str(paths[0]), paths[0], files[0]):
        assert np.allclose(fitted.decision_function(kind), wanted[:1], atol=1e-5)
    for kind in (arrays, images[:3] + files[3:6] + paths[6:]):
        again = clone(untaught).fit(kind, labels)
        assert (again.decision_function(paths) == wanted).all()
        assert dict(again.measured_) == dict(fitted.measured_)


def test_kinds_of_pictures_may_be_mixed_and_of_any_size(fitted, paths) -> None:
    mixed = [
        paths[0],
        str(paths[1]),
        opened(paths[2]),
        np.zeros((9, 40), np.uint8),
        Image.new("CMYK", (30, 50)),
        Image.new("1", (8, 8)),
    ]
    found = fitted.predict_proba(mixed)
    assert found.shape == (6, 3)
    assert np.allclose(found[:3], fitted.predict_proba(paths[:3]), atol=1e-5)


def test_known_pictures_reach_the_threshold(fitted, paths) -> None:
    for keep in (90, 95, 99):
        found = fitted.is_known(paths, keep)
        assert found.dtype == bool
    assert (fitted.is_known(paths, 99) >= fitted.is_known(paths, 90)).all()
    with pytest.raises(UserError, match="keep is 50, wanted one of 90, 95, 99"):
        fitted.is_known(paths, 50)


@pytest.mark.parametrize(
    "kinds",
    [
        np.array([30, 7, -1]),
        [3.0, 1.0, 2.0],
        ["snow_leopard", "b  c", "A"],
        np.array(["x", "y", "z"], object),
    ],
    ids=["whole", "floating", "spelt otherwise", "objects"],
)
def test_labels_come_back_as_they_were_given_from_a_folder_too(
    untaught, paths, kinds, tmp_path: Path
) -> None:
    labels = np.repeat(np.asarray(kinds), EACH)
    found = small(untaught).fit(paths, labels, names=dict(zip(kinds, CHOSEN, strict=True)))
    assert found.classes_.tolist() == sorted(kinds)
    found.save(tmp_path / "model")
    loaded = PromptClassifier.load(tmp_path / "model")
    check_is_fitted(loaded)
    assert loaded.classes_.tolist() == found.classes_.tolist()
    assert loaded.predict(paths).tolist() == found.predict(paths).tolist()
    assert {type(one) for one in loaded.predict(paths).tolist()} == {type(labels.tolist()[0])}
    assert loaded.measured_ == found.measured_
    assert found.score(paths, labels) > 0.6  # by names: the labels say nothing to a prompt


def test_a_folder_predicts_what_the_classifier_does(fitted, paths, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    found = answers(load_predictor(tmp_path / "model", 1), map(str, paths), threads=1, top=1)
    assert [one.prediction.top[0][0] for one in found] == fitted.predict(paths).tolist()
    loaded = PromptClassifier.load(tmp_path / "model")
    assert (loaded.decision_function(paths) == fitted.decision_function(paths)).all()
    with pytest.raises(UserError, match=r"this model was loaded. Copy the folder"):
        loaded.save(tmp_path / "other")
    with pytest.raises(UserError, match="no model of fdbpl"):
        PromptClassifier.load(tmp_path)


def test_what_fdbpl_learn_wrote_is_loaded(taught: Taught, paths, labels) -> None:
    loaded = PromptClassifier.load(taught.path)
    assert loaded.classes_.tolist() == list(taught.outcome.plan.class_names)
    assert loaded.score(paths, labels) > 0.6
    assert loaded.template == "a photo of a {}."


def test_names_alone_teach_what_the_teacher_knows(untaught, paths, labels) -> None:
    found = small(untaught).fit(paths, names=CHOSEN)
    assert found.classes_.tolist() == list(CHOSEN)
    assert found.measured_["labels"] == "teacher"
    assert found.score(paths, labels) > 0.6


def test_two_classes_are_decided_by_one_number(untaught, paths, labels) -> None:
    two = small(untaught).fit(paths[: 2 * EACH], labels[: 2 * EACH])
    found = two.decision_function(paths)
    assert found.shape == (len(paths),)
    assert (two.predict(paths) == two.classes_[(found > 0).astype(int)]).all()
    assert two.predict_proba(paths).shape == (len(paths), 2)
    assert two.is_known(paths).shape == (len(paths),)


def test_it_is_judged_by_turns_as_others_are(untaught, paths, labels) -> None:
    scores = cross_val_score(small(untaught), paths, labels, cv=2)
    assert scores.shape == (2,)
    assert scores.mean() > 0.6


@pytest.mark.slow
def test_parameters_are_searched_as_those_of_others_are(untaught, paths, labels) -> None:
    two, some = labels[: 2 * EACH], paths[: 2 * EACH]
    assert cross_val_score(small(untaught), some, two, cv=2, scoring="roc_auc").mean() > 0.6
    search = GridSearchCV(small(untaught), {"template": ["a {}.", "{}"]}, cv=2, refit=False)
    assert set(search.fit(some, two).best_params_) == {"template"}


@pytest.mark.parametrize(
    ("labels", "names", "says"),
    [
        (["a"], None, "12 images and 1 labels, wanted one label an image"),
        (None, None, "neither labels nor names are given"),
        (["a"] * 12, None, "classes: 'a'; wanted two at least"),
        (["a", "A"] * 6, None, "class name 'a' is the same to CLIP as 'A'"),
        (["a", ""] * 6, None, "label '': an empty class name"),
        ([1.0, float("nan")] * 6, None, "a label is missing"),
        (["a", None] * 6, None, "labels of several kinds, or some missing"),
        ([[1]] * 12, None, r"labels of shape \(12, 1\), wanted one label an image"),
        (["a", "b"] * 6, ["x", "y"], "names beside labels are a list, wanted a dictionary"),
        (["a", "b"] * 6, {"a": "b"}, "class name 'b' is the same to CLIP as 'b'"),
        (None, {"a": "b"}, "names without labels are no list"),
        (None, "owl", "names without labels are no list"),
        (None, ["owl"], "classes: 'owl'; wanted two at least"),
        (None, ["owl", "Owl"], "is the same to CLIP as 'owl'"),
        (None, [], "classes: none; wanted two at least"),
    ],
)
def test_labels_and_names_that_do_not_fit_are_told(untaught, paths, labels, names, says) -> None:
    new = clone(untaught)
    with pytest.raises(UserError, match=says):
        new.fit(paths, labels, names=names)
    with pytest.raises(NotFittedError):
        new.predict(paths)


def test_a_picture_that_cannot_be_read_is_named_as_it_was_given(untaught, paths, labels, tmp_path):
    (tmp_path / "text.png").write_text("a letter")
    for bad in (tmp_path / "text.png", str(tmp_path / "gone.png"), tmp_path):
        with pytest.raises(UserError, match=f"^{bad}: cannot be"):
            clone(untaught).fit([*paths[:-1], bad], labels)
    for bad, says in (
        (np.zeros((4, 4, 3)), "a picture is float64, wanted the path of a file"),
        (3, "a picture is int, wanted"),
        (np.zeros((2, 2, 2, 2), np.uint8), "a picture in memory: .* wanted RGB or grey"),
        (Image.new("F", (4, 4)), "floating-point"),
    ):
        with pytest.raises(UserError, match=says):
            clone(untaught).fit([*paths[:-1], bad], labels)


def test_a_picture_that_cannot_be_read_is_not_predicted(fitted, paths, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.png: cannot be read"):
        fitted.predict([*paths, tmp_path / "gone.png"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"student": "ViT"}, "student is 'ViT', wanted ARCHITECTURE:WEIGHTS"),
        ({"method": "copo"}, "copo"),
        ({"shots": "some"}, "'shots' is 'some', wanted"),
        ({"template": "x"}, "template' is 'x', wanted"),
        ({"device": "tpu"}, "'device' is 'tpu', wanted"),
    ],
)
def test_parameters_are_checked_when_it_is_fitted(untaught, paths, labels, changes, says) -> None:
    with pytest.raises(UserError, match=says):
        clone(untaught).set_params(**changes).fit(paths, labels)
