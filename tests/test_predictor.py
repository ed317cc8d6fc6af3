"""Predictions: the plain way's numbers whatever stands beside, in order, in bounded memory."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from student_models import LIMITS, NAMES, zero_shot

from fdbpl.clip.model import ClipModel
from fdbpl.data.images import decode
from fdbpl.evaluation.calibration import Calibration
from fdbpl.serving.make import Made, predictor_of_made, save_model
from fdbpl.serving.model_folder import About, open_model, write_model
from fdbpl.serving.predictor import Predictor, load_predictor
from fdbpl.serving.stream import AT_ONCE, Answer, answers
from fdbpl.system.errors import UserError


@pytest.fixture(scope="module")
def predictor(model_path: Path) -> Predictor:
    return load_predictor(model_path, threads=1)


@pytest.fixture(scope="module")
def files(snapshots: Path) -> list[str]:
    return sorted(map(str, snapshots.iterdir()))


@pytest.fixture(scope="module")
def plain(made_model: Made, files: list[str]) -> dict[str, np.ndarray]:
    """The logits of every picture alone, by torch and the decision, in the field's plain way."""
    clip, found = made_model.clip, {}
    for path in files:
        pixels = torch.from_numpy(clip.preprocessing.pixels(decode(Path(path))))
        with torch.no_grad():
            feature = clip.network.encode_image(pixels[None], normalize=True).numpy()
        found[path] = (clip.logit_scale * feature @ made_model.decision.vectors.T)[0]
    return found


def said(answer: Answer) -> tuple[dict[str, float], float]:
    assert answer.prediction is not None, answer.error
    return dict(answer.prediction.top), answer.prediction.score


def wanted(logits: np.ndarray) -> tuple[dict[str, float], float]:
    powers = np.exp(logits.astype(float) / 1.5)
    probabilities = dict(zip(NAMES, powers / powers.sum(), strict=True))
    return probabilities, float(np.log(np.exp(logits.astype(float)).sum()))


@settings(max_examples=15)
@given(data=st.data(), threads=st.integers(1, 3))
def test_predictions_are_the_plain_ways_in_order_whatever_stands_beside(
    predictor: Predictor, files, plain, data, threads: int
) -> None:
    some = data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=20))
    found = list(answers(predictor, some, threads=threads, top=len(NAMES)))
    assert [one.path for one in found] == some
    for path, answer in zip(some, found, strict=True):
        (probabilities, score), (true, energy) = said(answer), wanted(plain[path])
        assert score == pytest.approx(energy, abs=1e-4)
        assert probabilities == pytest.approx(true, abs=1e-4)
        assert list(probabilities.values()) == sorted(probabilities.values(), reverse=True)
        assert answer.prediction.known is (score >= LIMITS[95])


def test_logits_are_the_plain_ways(predictor: Predictor, files, plain) -> None:
    pixels = np.stack([predictor.pixels(decode(Path(path))) for path in files])
    difference = predictor.logits(pixels) - np.stack([plain[path] for path in files])
    assert np.abs(difference).max() < 1e-4


@pytest.mark.parametrize("top", [1, 2, 99])
@pytest.mark.parametrize("keep", [90, 95, 99])
def test_as_many_classes_as_asked_for_and_the_threshold_asked_for(
    predictor: Predictor, files, top: int, keep: int
) -> None:
    for one in answers(predictor, files, threads=2, top=top, keep=keep):
        assert len(one.prediction.top) == min(top, len(NAMES))
        assert one.prediction.known is (one.prediction.score >= LIMITS[keep])


def test_of_other_classes_no_threshold_is_known(predictor: Predictor, files) -> None:
    other = replace(predictor, knows_thresholds=False)
    assert {one.prediction.known for one in answers(other, files[:3], threads=1)} == {None}


def test_equal_probabilities_come_in_the_order_of_labels(made_model: Made) -> None:
    same = replace(made_model.decision, vectors=np.zeros((5, 32), np.float32))
    predictor = predictor_of_made(replace(made_model, decision=same))
    found = predictor.predictions(np.zeros((1, 3, 32, 32), np.float32))
    assert [name for name, _ in found[0].top] == list(NAMES)


@pytest.fixture
def unreadable(tmp_path: Path, snapshots: Path) -> dict[str, str]:
    """Files that cannot be read, and a word of why."""
    whole = (snapshots / "00.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("a letter")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nowhere")
    Image.new("RGB", (2000, 1)).save(tmp_path / "thin.png")
    os.mkfifo(tmp_path / "pipe.png")
    named = {
        "cut.png": "truncated|broken",
        "text.jpg": "no image of a known format",
        "empty.png": "an empty file",
        "folder.png": "a directory or device",
        "link.png": "a link to nothing",
        "gone.png": "No such file",
        "thin.png": "500 to 1",
        "pipe.png": "a directory or device",
        "x" * 300: "name too long",
        "zero\0byte": "null byte",
        os.fsdecode(b"\xff\n"): "No such file",
    }
    return {str(tmp_path / name): why for name, why in named.items()}


def test_what_cannot_be_read_is_said_and_stops_nothing(
    predictor: Predictor, files, plain, unreadable: dict[str, str]
) -> None:
    mixed = [path for pair in zip(files, unreadable, strict=False) for path in pair]
    found = list(answers(predictor, mixed, threads=2, top=5))
    assert [one.path for one in found] == mixed
    for one in found:
        if one.path in unreadable:
            assert one.prediction is None
            assert re.search(unreadable[one.path], one.error), one.error
            assert one.path not in one.error  # it is said already
        else:
            assert one.error is None
            assert said(one)[1] == pytest.approx(wanted(plain[one.path])[1], abs=1e-4)


def test_only_unreadable_ones_and_none_at_all(predictor: Predictor, unreadable) -> None:
    found = list(answers(predictor, unreadable, threads=1))
    assert all(one.error and one.prediction is None for one in found)
    assert list(answers(predictor, [], threads=2)) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_an_endless_list_is_read_a_bounded_way_ahead(predictor, files, threads: int) -> None:
    taken = []

    def endless() -> Iterator[str]:
        for number in count():
            taken.append(number)
            yield files[number % len(files)]

    found = answers(predictor, endless(), threads=threads)
    for number, one in enumerate(islice(found, 60)):
        assert one.path == files[number % len(files)]
        assert len(taken) <= number + AT_ONCE * (2 * threads + 2)
    found.close()


PREDICT = """
import json, sys
from pathlib import Path
from fdbpl.serving.predictor import load_predictor
from fdbpl.serving.stream import answers
found = answers(load_predictor(Path(sys.argv[1]), 1), sys.argv[2:], threads=2)
print(json.dumps([one.prediction.score for one in found]))
print(json.dumps([name for name in ("torch", "open_clip", "sklearn") if name in sys.modules]))
"""


def test_another_process_predicts_the_same_without_torch(predictor, model_path, files) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(model_path), *files],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    scores, loaded = map(json.loads, done.stdout.splitlines())
    assert scores == [one.prediction.score for one in answers(predictor, files, threads=1)]
    assert loaded == []


def test_a_classifier_of_another_student_is_refused(made_model: Made, tmp_path: Path) -> None:
    about = {**made_model.classifier.about}
    about["student"] = {**about["student"], "weights_sha256": "0" * 64, "architecture": "other"}
    mixed = replace(made_model, classifier=replace(made_model.classifier, about=about))
    save_model(tmp_path / "mixed", mixed, {})
    with pytest.raises(UserError, match="learned with a student of architecture 'other'"):
        load_predictor(tmp_path / "mixed")


def too_large(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.full_like(array, 3e38) for name, array in arrays.items()}


def narrower(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array[..., :5] for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("about", "files", "says"),
    [
        ({"class_names": ["x", "y"]}, {}, r"has the classes .*, not \['x', 'y'\]"),
        ({"preprocessing": {"image_size": 10**6}}, {}, "takes pictures of 32 pixels, not 1000000"),
        ({"preprocessing": {"std": [0, 1, 1]}}, {}, r"std \(0\.0, 1\.0, 1\.0\)"),
        ({"preprocessing": {"interpolation": "x"}}, {}, "'shortest' by 'x'"),
        ({"preprocessing": {"more": 1}}, {}, "TypeError"),
        ({"thresholds": {"90": 1.0}}, {}, "no threshold that keeps 95 per cent"),
        ({}, {"tower.onnx": b"no graph"}, "InvalidProtobuf"),
        ({}, {"tower.onnx": b""}, "InvalidArgument"),
        ({}, {"classifier.safetensors": too_large}, "gives no probabilities of 5 classes"),
        ({}, {"classifier.safetensors": narrower}, "ValueError"),
    ],
)
def test_a_model_that_somebody_else_put_together_is_refused_where_it_does_not_fit(
    made_model: Made, model_path: Path, tmp_path: Path, about, files, says: str
) -> None:
    sound = open_model(model_path)
    held = {name: sound.read(name) for name in sound.files}
    for name, change in files.items():
        if not isinstance(change, bytes):
            classifier = made_model.classifier
            change = replace(classifier, arrays=change(classifier.arrays)).data  # noqa: PLW2901
        held[name] = change
    told = sound.about.model_dump()
    changed = {key: {**told[key], **one} if key == "preprocessing" else one
               for key, one in about.items()}  # fmt: skip
    write_model(tmp_path / "model", About.model_validate({**told, **changed}), held)
    with pytest.raises(UserError, match=says) as error:
        load_predictor(tmp_path / "model")
    assert str(error.value).startswith(f"{tmp_path / 'model'}")
    assert "\n" not in str(error.value)


def test_a_moved_folder_predicts_as_before(predictor, model_path, files, tmp_path: Path) -> None:
    moved = load_predictor(Path(shutil.copytree(model_path, tmp_path / "elsewhere é")), 2)
    for one, other in zip(
        answers(moved, files, threads=1), answers(predictor, files, threads=2), strict=True
    ):
        assert said(one)[1] == pytest.approx(said(other)[1], abs=1e-4)


def test_a_graph_whose_logits_differ_is_never_written(clip: ClipModel, tmp_path: Path) -> None:
    """As where the exporter has a fault: here the decision is by so steep a scale."""
    model = zero_shot(clip)
    steep = replace(model, decision=replace(model.decision, scale=1e6))
    with pytest.raises(UserError, match=r"logits that differ by .*, wanted at most 1e-04"):
        save_model(tmp_path / "model", steep, {})
    assert not (tmp_path / "model").exists()


def test_equal_models_are_written_in_equal_bytes(made_model: Made, model_path, tmp_path) -> None:
    size = save_model(tmp_path / "again", made_model, {"README.md": b"# model\n"})
    for path in model_path.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    sizes = [one.stat().st_size for one in model_path.iterdir() if one.name != "model.json"]
    assert size == sum(sizes)


def test_a_made_model_predicts_as_its_folder_does(made_model: Made, predictor, files) -> None:
    other = predictor_of_made(made_model)
    assert other.calibration == predictor.calibration == Calibration(1.5, LIMITS)
    assert other.class_names == predictor.class_names
    found = [list(answers(one, files, threads=1)) for one in (other, predictor)]
    assert found[0] == found[1]
