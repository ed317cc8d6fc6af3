"""From pictures to a model: drawn pictures and the tiny pair, all the way."""

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from taught import EACH, NAMES, Taught, drawings, learn

from fdbpl.evaluation.calibration import KEPT, calibrate
from fdbpl.learning.figures import lines_of, with_unknown
from fdbpl.learning.learn import learn_pictures
from fdbpl.learning.model import save
from fdbpl.learning.request import LABELLED, UNLABELLED
from fdbpl.serving.card import origin
from fdbpl.serving.figures import wilson
from fdbpl.serving.make import predictor_of_made
from fdbpl.serving.model_folder import CARD, PROMPTS, open_model
from fdbpl.serving.predictor import load_predictor
from fdbpl.serving.stream import answers
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

QUICK = {"methods": ["zero_shot", "gda"]}
SHOT = {"methods": ["zero_shot"]}


@pytest.fixture
def pictures(class_pictures: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(class_pictures, tmp_path / "pictures"))


def encoded(found: Taught) -> list[tuple[int, int]]:
    """How many regions were encoded and reused: of student, teacher, and student before its end."""
    lines = [re.search(r"encoded ([\d,]+), reused ([\d,]+)", note) for note in found.outcome.notes]
    return [tuple(map(int, line.groups())) for line in lines if line]


def test_every_picture_is_judged_once_by_every_method(taught: Taught) -> None:
    outcome = taught.outcome
    assert tuple(outcome.tried) == LABELLED
    assert outcome.plan.class_names == NAMES
    held_out = outcome.held_out
    assert held_out.told
    assert outcome.own_test is None
    wanted = {f"{name}/{number:02}.png" for name in NAMES for number in range(EACH)}
    assert len(held_out.paths) == len(wanted)
    assert set(held_out.paths) == wanted
    for path, label in zip(held_out.paths, held_out.labels, strict=True):
        assert path.startswith(NAMES[label])
    assert encoded(taught) == [(2 * len(wanted), 0)] * 3


def test_the_first_of_the_best_is_taken(taught: Taught) -> None:
    best = max(taught.outcome.tried.values())
    first = next(name for name, value in taught.outcome.tried.items() if value == best)
    assert taught.outcome.method.name == first
    assert taught.outcome.held_out.correct == best


def test_figures_are_what_a_plain_recomputation_gives(taught: Taught) -> None:
    measured, held_out = taught.made.measured, taught.outcome.held_out
    z, labels = held_out.logits.astype(float), held_out.labels
    taken = z.argmax(axis=1)
    assert measured["accuracy"] == pytest.approx(100 * np.mean(taken == labels))
    assert measured["pictures"] == len(labels)
    for label, name in enumerate(NAMES):
        counts = {NAMES[one]: int(np.sum(taken[labels == label] == one)) for one in range(6)}
        assert measured["classes"][name] == {one: n for one, n in counts.items() if n}
    limits = taught.made.calibration.thresholds
    energy = np.log(np.exp(z - z.max()).sum(axis=1)) + z.max()
    others = [np.delete(row, label) for row, label in zip(z, labels, strict=True)]
    alone = np.array([np.log(np.exp(row - z.max()).sum()) + z.max() for row in others])
    for kept in KEPT:
        limit = limits[kept] - 1e-9  # it is a picture's own energy, which rounds otherwise here
        assert measured["kept"][str(kept)] == pytest.approx(100 * np.mean(energy >= limit))
        wanted = 100 * np.mean(alone < limit)
        assert measured["refused"][str(kept)] == pytest.approx(wanted)
    assert taught.made.calibration == calibrate(held_out.logits, labels)
    assert measured["low"] < measured["accuracy"] < measured["high"]


@pytest.mark.parametrize("count", [1, 7, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_wilsons_interval_solves_its_equation(share: float, count: int) -> None:
    for p in wilson(share, count):
        assert (share - p) ** 2 == pytest.approx(1.96**2 * p * (1 - p) / count, abs=1e-9)
    low, high = wilson(share, count)
    assert -1e-12 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1 + 1e-12


def test_the_folder_says_and_predicts_what_was_learned(taught: Taught) -> None:
    model = open_model(taught.path)
    assert model.about == taught.made.about  # what was measured, too, key by key
    assert (PROMPTS in model.files) == (taught.outcome.learned is not None)
    folder = taught.request.pictures
    some = [str(folder / path) for path in taught.outcome.held_out.paths[::5]]
    found, made = (
        [one.prediction for one in answers(predictor, some, threads=1, top=6)]
        for predictor in (load_predictor(taught.path, 1), predictor_of_made(taught.made))
    )
    assert found == made
    right = [one.top[0][0] == Path(path).parent.name for one, path in zip(found, some, strict=True)]
    assert np.mean(right) > 0.6  # it saw these


def test_the_same_request_gives_the_same_bytes_wherever_it_is_made(pictures, tmp_path, taught):
    again = learn(pictures, tmp_path / "elsewhere")
    assert encoded(again) == [(2 * 6 * EACH, 0)] * 3
    save(again.path, again.made)
    for file in taught.path.iterdir():
        assert (again.path / file.name).read_bytes() == file.read_bytes(), file.name
    for name in (CARD, "model.json"):
        text = (again.path / name).read_text()
        assert str(tmp_path) not in text
        assert str(taught.path.parent) not in text


def test_only_what_is_new_is_encoded(pictures: Path, tmp_path: Path) -> None:
    """Each picture has one region to learn from, and is seen whole when it is judged."""
    assert encoded(learn(pictures, tmp_path, **SHOT)) == [(2 * 48, 0)] * 2
    assert encoded(learn(pictures, tmp_path, **SHOT)) == [(0, 2 * 48)] * 2
    new = drawings(NAMES[0], EACH + 1)[-1]
    Image.fromarray(new).save(pictures / NAMES[0] / "99.png")
    assert encoded(learn(pictures, tmp_path, **SHOT)) == [(2, 2 * 48)] * 2
    (pictures / "red star").mkdir()
    for number, pixels in enumerate(drawings("red star", 3)):
        Image.fromarray(pixels).save(pictures / "red star" / f"{number}.png")
    found = learn(pictures, tmp_path, **SHOT)
    assert encoded(found) == [(2 * 3, 2 * 49)] * 2
    assert len(found.outcome.held_out.labels) == 52
    assert "red star" in found.outcome.plan.class_names


def test_a_test_split_of_ones_own_is_measured_on_and_never_learned_from(pictures, tmp_path):
    split = tmp_path / "split"
    for name in NAMES:
        for part, numbers in (("train", range(5)), ("test", range(5, EACH))):
            (split / part / name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(pictures / name / f"{number:02}.png", split / part / name)
    found = learn(split, tmp_path / "own", **QUICK)
    own, held_out = found.outcome.own_test, found.outcome.held_out
    assert {path.split("/")[0] for path in own.paths} == {"test"}
    assert {path.split("/")[0] for path in held_out.paths} == {"train"}
    assert (len(own.labels), len(held_out.labels)) == (18, 30)
    measured = found.made.measured
    assert measured["own_test"]
    assert measured["accuracy"] == own.correct
    assert found.outcome.tried[found.outcome.method.name] == held_out.correct
    assert found.made.calibration == calibrate(held_out.logits, held_out.labels)
    alone = learn(split / "train", tmp_path / "alone", **QUICK)
    assert alone.outcome.tried == found.outcome.tried  # nothing was chosen by the test
    said = lines_of(measured, found.made.method.name, found.made.calibration.thresholds)
    assert said[0].startswith("accuracy on held-out pictures, all")
    assert "on your test pictures, which nothing was chosen by:" in said
    assert "nothing was learned or chosen by them" in origin(found.made.about)


def flat(pictures: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in pictures.glob("*/*.png"):
        shutil.copy(path, folder / f"{path.parent.name} {path.name}")
    return folder


def test_pictures_without_classes_are_learned_by_what_the_teacher_says(pictures, tmp_path) -> None:
    folder = flat(pictures, tmp_path / "flat")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES))
    found = learn(folder, tmp_path / "a", names=names)
    assert set(found.outcome.tried) == set(UNLABELLED)
    assert not found.outcome.held_out.told
    assert found.made.measured["labels"] == "teacher"
    assert found.made.made["labels"] == "teacher"
    assert len(found.outcome.held_out.labels) == 48
    shown = [path.rsplit(" ", 1)[0] for path in found.outcome.held_out.paths]
    said = [NAMES[label] for label in found.outcome.held_out.labels]
    assert np.mean([a == b for a, b in zip(shown, said, strict=True)]) > 0.6
    with pytest.raises(UserError, match="gda learns from labels, and nobody has told"):
        learn(folder, tmp_path / "a", names=names, methods=["gda"])

    shutil.copytree(pictures, tmp_path / "labelled")  # beside the pictures
    test = learn(folder, tmp_path / "a", names=names, test=tmp_path / "labelled", **SHOT)
    assert test.outcome.own_test.told
    assert test.made.measured["labels"] == "told"
    assert len(test.outcome.own_test.labels) == 48
    assert test.outcome.held_out.told  # labels count where there are any
    assert test.outcome.held_out.paths == test.outcome.own_test.paths
    measured = test.made.measured
    said = lines_of(measured, test.made.method.name, test.made.calibration.thresholds)
    assert said[0] == "accuracy on your test pictures, all 6 classes competing:"
    assert "nothing was chosen" not in " ".join(said)
    assert "the method was chosen" in origin(test.made.about)


def test_a_table_and_a_folder_teach_the_same(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [
        (path.relative_to(tmp_path), path.parent.name) for path in sorted(pictures.glob("*/*.png"))
    ]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "class"), *rows])
    found = learn(table, tmp_path, **SHOT)
    wanted = learn(pictures, tmp_path, **SHOT)
    assert found.outcome.tried == wanted.outcome.tried


def test_an_unreadable_picture_is_noted_once_and_left_out(pictures: Path, tmp_path: Path) -> None:
    (pictures / NAMES[0] / "99.png").write_bytes(b"a letter")
    found = learn(pictures, tmp_path, **SHOT)
    notes = [note for note in found.outcome.notes if "unreadable" in note]
    assert len(notes) == 1
    assert notes[0].startswith(f"1 unreadable training images, such as {NAMES[0]}/99.png: cannot")
    assert len(found.outcome.held_out.labels) == 48


@pytest.mark.parametrize("single", [NAMES[-1], pytest.param(NAMES[0], marks=pytest.mark.slow)])
def test_a_class_of_one_picture_is_learned_and_not_judged(pictures, tmp_path, single: str) -> None:
    for path in sorted((pictures / single).iterdir())[1:]:
        path.unlink()
    methods = ["linear_probe_text", "gda", "gda_teacher"]
    found = learn(pictures, tmp_path, methods=methods)
    assert len(found.outcome.held_out.labels) == 40
    assert not any(path.startswith(single) for path in found.outcome.held_out.paths)
    assert found.made.measured["classes"][single] == {}
    assert found.outcome.learned.names == NAMES


@pytest.mark.parametrize("shots", [1, 2])
def test_few_shots_are_learned_from_and_all_others_judged(pictures, tmp_path, shots: int) -> None:
    found = learn(pictures, tmp_path, shots=shots, methods=["gda", "linear_probe_text"])
    assert found.made.made["pictures"] == 6 * shots
    assert len(found.outcome.held_out.labels) == (48 if shots > 1 else 42)


def test_too_few_pictures_are_told(class_pictures: Path, tmp_path: Path) -> None:
    for name in NAMES[:2]:
        (tmp_path / "pictures" / name).mkdir(parents=True)
        shutil.copy(class_pictures / name / "00.png", tmp_path / "pictures" / name)
    with pytest.raises(UserError, match=r"pictures: no class has two pictures, so none can be"):
        learn(tmp_path / "pictures", tmp_path)
    shutil.rmtree(tmp_path / "pictures" / NAMES[0])
    with pytest.raises(UserError, match="has one class, 'black bolt', wanted at least 2"):
        learn(tmp_path / "pictures", tmp_path)


def test_pictures_of_something_else_are_counted(taught: Taught, tmp_path: Path) -> None:
    for number, pixels in enumerate(drawings("red star", 5)):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "cut.png").write_bytes(b"x")
    made = with_unknown(taught.made, tmp_path)
    unknown: dict[str, Any] = made.measured["unknown"]
    assert unknown["pictures"] == 5
    predictor = predictor_of_made(made)
    paths = [str(tmp_path / f"{number}.png") for number in range(5)]
    scores = np.array([one.prediction.score for one in answers(predictor, paths, threads=1)])
    for kept, limit in made.calibration.thresholds.items():
        assert unknown["refused"][str(kept)] == pytest.approx(100 * np.mean(scores < limit))
    said = lines_of(made.measured, made.method.name, made.calibration.thresholds)
    assert said[-1].endswith(" of 5 pictures of none of the classes")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none: no picture that can be read"):
        with_unknown(taught.made, tmp_path / "none")


def test_what_was_learned_again_is_looked_up(taught: Taught, tmp_path: Path) -> None:
    work = Workspace(Path(taught.request.store).parent / "work")
    stored = {path: path.stat().st_mtime_ns for path in work.trainings.rglob("*") if path.is_file()}
    assert stored
    again = learn_pictures(taught.request, work)
    assert {path: path.stat().st_mtime_ns for path in stored} == stored
    assert again.tried == taught.outcome.tried
    assert (again.held_out.logits == taught.outcome.held_out.logits).all()
