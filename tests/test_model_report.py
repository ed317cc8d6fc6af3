"""The report of a model: what it says of itself, and its mistakes on pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import draw_folder, unit
from pages import sound
from PIL import Image

from fdbpl.classify.artifact import classifier_of
from fdbpl.classify.decision import Decision
from fdbpl.cli import main
from fdbpl.clip.model import ClipModel
from fdbpl.data.images import read_image
from fdbpl.evaluation.calibration import Calibration
from fdbpl.methods.registry import find_method
from fdbpl.serving import mistakes
from fdbpl.serving.make import Made, save_model
from fdbpl.serving.mistakes import digest, look
from fdbpl.serving.model_folder import LEARNED, About, ModelFolder, open_model, write_model
from fdbpl.serving.predictor import Prediction, load_predictor
from fdbpl.serving.report import report_model
from fdbpl.serving.stream import answers
from fdbpl.system.errors import UserError

NAMES = ["<b>sea", "cat & dog", 'the "sky"']

MEASURED = {
    "pictures": 40,
    "labels": "told",
    "own_test": False,
    "accuracy": 77.5,
    "low": 62.54,
    "high": 87.68,
    "tried": {"zero_shot": 60.0, "gda": 77.5},
    "classes": {
        NAMES[0]: {NAMES[0]: 10, NAMES[1]: 3},
        NAMES[1]: {NAMES[1]: 12, NAMES[2]: 2},
        NAMES[2]: {NAMES[2]: 9, NAMES[0]: 4},
    },
    "kept": {90: 90.5, 95: 95.5, 99: 99.5},
    "refused": {90: 40.5, 95: 20.5, 99: 10.5},
}
MADE = {"pictures": 30, "labels": "told", "shots": 10, "crops": 4, "seed": 1, "folds": 5}


def model(folder: Path, learned: str | None = None, **measured: Any) -> ModelFolder:
    """A model that says what it is, and has no tower."""
    about = About(
        fdbpl="0.1.0",
        name="<model>",
        method="gda",
        title="GDA, labels",
        class_names=NAMES,
        template="a photo of a {}.",
        student={"architecture": "small"},
        weights="small",
        teacher={"architecture": "large", "weights": "small"},
        preprocessing={},
        temperature=1.5,
        thresholds={90: 5.25, 95: 4.25, 99: 3.25},
        made=MADE,
        measured={**MEASURED, **measured},
    )
    write_model(folder, about, {} if learned is None else {LEARNED: learned.encode()})
    return open_model(folder)


class Sees:
    """Takes every picture for the class that its brightness falls into, surely where bright."""

    class_names = tuple(NAMES)

    def pixels(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(picture.convert("L"), np.float32).mean(keepdims=True)

    def predictions(self, pixels: np.ndarray, top: int, keep: int) -> list[Prediction]:
        shares = [float(one.item()) / 256 for one in pixels]
        return [Prediction(((NAMES[int(3 * one)], one),), 0.0, None) for one in shares][: 10**top]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders, judged by `Sees`."""
    monkeypatch.setattr(mistakes, "predictor_of", lambda *_, **__: Sees())
    return draw_folder(tmp_path / "pictures", dict.fromkeys(NAMES, (6, 4)))


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    model(tmp_path / "m", unknown={"pictures": 1234, "refused": {90: 77.5, 95: 66.5, 99: 55.5}})
    said = report_model(tmp_path / "m", tmp_path / "m.html")
    assert said.startswith("<model>, ")
    found = sound((tmp_path / "m.html").read_bytes())
    for words in (
        "77.5 % (62.5 to 87.7, 95 % interval)",
        "Accuracy on 40 held-out pictures, all 3 classes competing.",
        "GDA, labels taken 77.5 zero-shot 60.0",
        "<b>sea 77 % 13 cat & dog 23 %",
        "<b>sea taken for cat & dog: 3 of 13",
        "95 % 4.25 95.5 20.5 66.5",
        "1,234 of none of the classes",
        "30 (at most 10 of each class)",
    ):
        assert words in found.text
    assert not {"sky", "model"} & set(found.tags)
    assert "img" not in found.tags


def test_agreement_is_not_called_accuracy(tmp_path: Path) -> None:
    model(tmp_path / "m", labels="teacher", own_test=True)
    report_model(tmp_path / "m", tmp_path / "m.html")
    text = sound((tmp_path / "m.html").read_bytes()).text
    assert "Agreement with the teacher on 40 held-out pictures" in text
    assert "nothing was learned or chosen by them" in text


@pytest.mark.parametrize("part", ["", "test"])
def test_mistakes_are_the_surest_of_all_pictures(tmp_path: Path, pictures: Path, part: str) -> None:
    found = look(model(tmp_path / "m"), pictures / part, most=4, threads=2)
    told = []
    for path in sorted((pictures / part).rglob("*.png")):
        share = float(Sees().pixels(Image.open(path).convert("RGB")).item()) / 256
        shown, taken = NAMES.index(path.parent.name), int(3 * share)
        told.append((share, shown, taken, path.relative_to(pictures / part).as_posix()))
    wrong = sorted((one for one in told if one[1] != one[2]), key=lambda one: -one[0])
    assert [one.key.path for one in found.surest.mistakes] == [one[3] for one in wrong[:4]]
    assert int(found.confusion.counts.sum()) == len(told) == (12 if part else 30)
    right = sum(one[1] == one[2] for one in told)
    assert found.confusion.accuracy == pytest.approx(100 * right / len(told))


def test_it_says_whether_the_pictures_were_learned_from(tmp_path: Path, pictures: Path) -> None:
    paths = sorted((pictures / "train").rglob("*.png"))
    assert digest(paths[0]) == read_image(paths[0])[0].hex()  # as a plan knows it
    every = "\n".join({digest(path) for path in sorted(pictures.rglob("*.png"))})
    for learned, says in (
        (None, "does not say which pictures it was learned from"),
        ("", "learned from none of these pictures"),
        (digest(paths[0]), "learned from 1 of these pictures: this says little about new ones"),
        (every, "learned from all of these pictures"),
    ):
        model(tmp_path / "m", learned)
        report_model(tmp_path / "m", tmp_path / "m.html", pictures)
        found = sound((tmp_path / "m.html").read_bytes())
        assert says in found.text
        assert found.tags.count("img") == 2 * min(12, found.tags.count("figure"))
        assert ("(learned from)" in found.text) == (learned == every)


def test_what_cannot_be_read_and_other_folders_are_told(tmp_path: Path, pictures: Path) -> None:
    (pictures / "test" / NAMES[0] / "00.png").write_bytes(b"no picture")
    (pictures / "test" / "elk").mkdir()
    model(tmp_path / "m")
    report_model(tmp_path / "m", tmp_path / "m.html", pictures)
    text = sound((tmp_path / "m.html").read_bytes()).text
    assert "1 more cannot be read." in text
    assert "called as none of its classes: test/elk." in text


def test_a_model_that_is_saved_knows_what_it_was_learned_from(
    tmp_path: Path, clip: ClipModel
) -> None:
    pictures = draw_folder(tmp_path / "pictures", dict.fromkeys(NAMES, (3, 3)))
    paths = sorted((pictures / "train").rglob("*.png"))
    decision = Decision(unit(np.random.default_rng(0), 3, 32), clip.logit_scale)
    about = {"class_names": NAMES, "template": "a photo of a {}.", "student": dict(clip.identity)}
    made = Made(
        name="m",
        method=find_method("gda"),
        clip=clip,
        teacher={"architecture": "large", "weights": "small"},
        classifier=classifier_of(decision, about),
        decision=decision,
        prompts=None,
        calibration=Calibration(1.0, {90: 1.0, 95: 0.5, 99: 0.25}),
        made=MADE,
        measured=MEASURED,
        learned=[read_image(path)[0] for path in paths],
    )
    save_model(tmp_path / "m", made, {})
    opened = open_model(tmp_path / "m")
    assert opened.learned == {digest(path) for path in paths}
    found = look(opened, pictures, most=12, threads=2)
    assert found.learned == len(paths)
    assert int(found.confusion.counts.sum()) == 18
    files = map(str, pictures.rglob("*.png"))
    told_of = {one.path: one for one in answers(load_predictor(tmp_path / "m"), files, threads=1)}
    for one in found.surest.mistakes:
        told = told_of[str(pictures / one.key.path)].prediction
        assert told is not None
        assert told.top[0] == (NAMES[one.taken], pytest.approx(one.probability, rel=1e-4))
        assert one.key.learned == one.key.path.startswith("train/")
    save_model(tmp_path / "m", replace(made, learned=None), {})
    assert open_model(tmp_path / "m").learned is None


def test_users_mistakes(tmp_path: Path, pictures: Path) -> None:
    opened = model(tmp_path / "m")
    draw_folder(tmp_path / "others", {"elk": (1, 1)})
    (tmp_path / "empty" / NAMES[0]).mkdir(parents=True)
    for folder, says in (
        ("others/test", r"none of its folders \(elk\) is called as one of the model's classes"),
        ("empty", "no picture that can be read"),
        ("nothing", "nothing: No such file"),
    ):
        with pytest.raises(UserError, match=says):
            look(opened, tmp_path / folder, 12, 1)
    (tmp_path / "m" / "model.json").write_text("{")
    result = CliRunner().invoke(
        main, ["report", str(tmp_path / "m"), "--out", str(tmp_path / "x.html")]
    )
    assert result.exit_code == 2
    assert "model.json: damaged" in result.stderr
