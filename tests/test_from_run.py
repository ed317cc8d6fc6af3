"""What a run learned, as a model folder and behind MLflow: both say what `evaluate` measured."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import draw_image
from drawn_run import DATASET, DrawnRun, drawn_run, student
from workspaces import run_of

from fdbpl.cli import main
from fdbpl.data.images import decode
from fdbpl.serving.card import card_files
from fdbpl.serving.from_run import made_of_run
from fdbpl.serving.make import save_model
from fdbpl.serving.model_folder import open_model
from fdbpl.serving.predictor import Predictor, load_predictor
from fdbpl.system.errors import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrawnRun]:
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield drawn_run(folder)


def predictor_of(run: DrawnRun, method: str, protocol: str = "all-classes") -> Predictor:
    made = run.made(method, protocol)
    place = run.folder / "models" / f"{method}-{protocol}"
    save_model(place, made, card_files(made.about))
    return load_predictor(place)


def logits_of(predictor: Predictor, pictures: list[Path]) -> np.ndarray:
    return predictor.logits(np.stack([predictor.pixels(decode(one)) for one in pictures]))


@pytest.mark.parametrize(
    ("method", "protocol"),
    [
        ("zero_shot", "all-classes"),
        ("prolip", "all-classes"),  # which sees the student before its last projection
        ("template_bridge", "all-classes"),  # which sees it on both sides
        ("template_bridge", "base-to-new"),
        ("fdbpl", "all-classes"),
        ("fdbpl", "base-to-new"),
    ],
)
def test_a_model_says_of_every_test_picture_what_evaluate_decided(
    run: DrawnRun, method: str, protocol: str
) -> None:
    predictor = predictor_of(run, method, protocol)
    found, wanted = logits_of(predictor, run.pictures), run.cached_logits(method, protocol)
    assert len(found) == 480
    assert np.abs(found - wanted).max() <= 1e-4
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).all()


def test_features_cached_as_float16_move_logits_by_a_thousandth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rounded = drawn_run(tmp_path, cache={"payload": "float16"}, methods=["zero_shot"])
    found = logits_of(predictor_of(rounded, "zero_shot"), rounded.pictures)
    wanted = rounded.cached_logits("zero_shot")
    assert 1e-5 < np.abs(found - wanted).max() / np.abs(wanted).max() < 1e-3
    assert np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)) > 0.99


@pytest.mark.parametrize("protocol", ["all-classes", "base-to-new"])
def test_a_model_keeps_what_was_measured_and_on_what(run: DrawnRun, protocol: str) -> None:
    made = run.made("fdbpl", protocol)
    told = run_of(run.work, DATASET, protocol)["methods"]["fdbpl"]["1"]
    assert made.measured["protocol"] == told["measures"]
    assert made.prompts is not None
    assert made.prompts.digest == told["prompts"]
    assert made.made["calibrated_on"] == "test images"
    learned = 20 if protocol == "all-classes" else 10
    assert (made.made["learned_classes"], made.made["pictures"]) == (learned, 2 * learned)
    assert made.learned is not None
    assert len(set(made.learned)) == 2 * learned
    right = run.cached_logits("fdbpl", protocol).argmax(axis=1)
    truth = run.plan.images["label"][run.plan.test]
    assert made.measured["accuracy"] == pytest.approx(100 * np.mean(right == truth))
    counts = made.measured["classes"]
    assert sum(sum(taken.values()) for taken in counts.values()) == 480
    own = sum(counts[name].get(name, 0) for name in counts)
    assert own == (right == truth).sum()
    card = card_files(made.about)["README.md"].decode()
    assert "on 480 test images, all 20 classes competing" in card
    assert ("of the base half, which was learned" in card) == (protocol == "base-to-new")
    assert "method tried" not in card


def test_where_nobody_told_the_classes_the_teacher_stands_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        draw_image(tmp_path / "pictures" / f"{number}.png", number)
    (tmp_path / "names.txt").write_text("black key\nblue drop\npink bolt\n")
    own = {"mine": {"images": "pictures", "names": "names.txt"}}
    run = drawn_run(
        tmp_path, datasets=["mine"], protocols=["all-classes"], data={"own": own}, methods=["fdbpl"]
    )
    made = run.made("fdbpl")
    told = run_of(run.work, "mine", "all-classes")["methods"]["fdbpl"]["1"]["measures"]
    assert told.keys() == {"agreement"}
    assert made.measured["protocol"] == told
    assert made.measured["accuracy"] == pytest.approx(told["agreement"])
    assert (made.measured["labels"], made.made["labels"]) == ("teacher", "teacher")
    card = card_files(made.about)["README.md"].decode()
    assert f"Agreement with the teacher on {len(run.plan.test)} test images" in card


def pack(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["pack", DATASET, "--run", "drawn", *words])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.stderr if code else done.stdout


def test_pack_writes_what_predict_takes(run: DrawnRun) -> None:
    said = pack("--out", "packed")
    about = open_model(Path("packed")).about
    assert "FDBPL, ours, all-classes, 2 shots, seed 1" in said
    assert f"accuracy {about.measured['accuracy']:.1f} % of 480 test images" in said
    picture = str(run.pictures[0])
    done = CliRunner().invoke(main, ["predict", "packed", picture, "--json"])
    best = run.cached_logits("fdbpl")[0].argmax()
    assert json.loads(done.stdout)["top"][0][0] == run.plan.class_names[best]
    first = {one.name: one.read_bytes() for one in Path("packed").iterdir()}
    pack("--out", "packed", "--protocol", "base-to-new", "--method", "zero_shot")
    other = open_model(Path("packed")).about
    assert (other.method, other.made["protocol"]) == ("zero_shot", "base-to-new")
    assert "From no pictures" in Path("packed/README.md").read_text()
    pack("--out", "packed")
    assert {one.name: one.read_bytes() for one in Path("packed").iterdir()} == first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "teacher"), "judges what the teacher sees"),
        (("--method", "coop"), "'coop', wanted one of those in params.yaml: zero_shot, teacher"),
        (("--seed", "7"), "--seed is 7, wanted one of 1."),
        (("--protocol", "transfer"), "'transfer', wanted one that icons is learned under: base-"),
        (("--run", "other"), "Run fdbpl prepare-crops icons --run other first."),
    ],
)
def test_what_cannot_be_packed_is_one_line_and_writes_nothing(
    run: DrawnRun, words: tuple[str, ...], said: str
) -> None:
    line = pack("--out", "nothing", *words, code=2)
    assert said in line
    assert line.count("\n") == 1
    assert not Path("nothing").exists()


def test_a_model_of_files_that_are_gone_names_the_stage(run: DrawnRun) -> None:
    classifier = run.work.learned(DATASET, "all-classes", "fdbpl", 1, "classifier")
    kept = classifier.rename(classifier.with_suffix(".kept"))
    try:
        with pytest.raises(UserError, match=r"Run fdbpl train-student icons --run drawn first"):
            run.made("fdbpl")
    finally:
        kept.rename(classifier)


def test_without_test_images_there_is_no_model(run: DrawnRun) -> None:
    task = run.task()
    bare = replace(task, plan=replace(task.plan, images=task.plan.images[task.plan.test[-1] + 1 :]))
    with pytest.raises(UserError, match=r"plans/icons: no test images.*prepare-crops icons"):
        made_of_run(run.params, run.work, bare, run.method("fdbpl"), 1, "x", student)
