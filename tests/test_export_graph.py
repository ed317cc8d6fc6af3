"""The exported graph: the logits of every kind of decision, in any batch."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from exported import decisions, draw_pictures, write_decided
from models import SIZE, tower, write_colours
from onnx import helper

from fdbpl.classify.decision import Decision
from fdbpl.cli import main
from fdbpl.data.images import decode
from fdbpl.evaluation.logits import logsumexp
from fdbpl.serving.export import onnx_folder
from fdbpl.serving.export.check import difference, require_equal, some_pictures
from fdbpl.serving.export.graph import LOGITS, SCORE, whole_graph
from fdbpl.serving.export.onnx_folder import export_onnx
from fdbpl.serving.export.place import how_to_use
from fdbpl.serving.export.session import open_graph
from fdbpl.serving.model_folder import open_model
from fdbpl.serving.predictor import load_predictor, predictor_of
from fdbpl.system.errors import UserError


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 3, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("name", decisions())
def test_every_kind_of_decision_gives_its_logits_and_score(name: str, tmp_path: Path) -> None:
    model = write_decided(tmp_path / "model", decisions()[name])
    wanted = predictor_of(model).logits(pixels(20))
    session = open_graph(whole_graph(tower(), decisions()[name]).SerializeToString())
    logits, score = session.run([LOGITS, SCORE], {"pixels": pixels(20)})
    assert (logits.dtype, score.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=5e-5)
    np.testing.assert_allclose(score, logsumexp(wanted), rtol=0, atol=5e-5)


def test_logits_that_would_overflow_have_a_score(tmp_path: Path) -> None:
    decision = Decision(np.eye(3, dtype=np.float32), 1e4)
    session = open_graph(whole_graph(tower(), decision).SerializeToString())
    logits, score = session.run([LOGITS, SCORE], {"pixels": pixels(5)})
    np.testing.assert_allclose(score, logsumexp(logits), rtol=1e-6)


def test_a_folder_holds_the_graph_its_labels_and_how_to_use_it(tmp_path: Path) -> None:
    model = write_decided(tmp_path / "model", decisions()["all"])
    lines = export_onnx(model, tmp_path / "out", draw_pictures(tmp_path / "pictures", 70))
    assert "of 64 pictures" in lines[0]
    assert {one.name for one in (tmp_path / "out").iterdir()} == {
        *("model.onnx", "labels.json", "preprocessing.json", "README.md")
    }
    assert json.loads((tmp_path / "out/labels.json").read_text()) == ["red", "green", "blue"]
    about = json.loads((tmp_path / "out/preprocessing.json").read_text())
    assert about["thresholds"] == {"90": 9.0, "95": 8.0, "99": 7.0}
    assert about["image_size"] == SIZE


@pytest.mark.parametrize("mode", ["squash", "shortest"])
def test_the_lines_of_the_readme_say_what_predict_says(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_decided(tmp_path / "model", decisions()["plain"])
    how = {**model.about.preprocessing, "resize_mode": mode, "std": [0.5, 0.25, 0.3]}
    about = model.about.model_copy(update={"preprocessing": how})
    model = replace(model, about=about)
    export_onnx(model, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    picture = draw_pictures(tmp_path / "pictures", 1) / "000.png"
    monkeypatch.chdir(tmp_path / "out")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    assert code.count("\n") <= 17
    found: dict[str, np.ndarray] = {}
    exec(code.replace("picture.jpg", str(picture)), found)
    predictor = predictor_of(model)
    wanted = predictor.logits(predictor.pixels(decode(picture))[None])
    np.testing.assert_allclose(found["logits"], wanted, atol=1e-4)


@pytest.mark.parametrize("mode", ["squash", "shortest"])
def test_how_a_picture_is_resized_is_said(mode: str, tmp_path: Path) -> None:
    about = open_model(write_colours(tmp_path / "model")).about
    how = {**about.preprocessing, "resize_mode": mode}
    said = " ".join(how_to_use(about.model_copy(update={"preprocessing": how}))["how"])
    assert ("shorter side to 16 pixels" in said) == (mode == "shortest")


def test_what_decides_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(write_colours(tmp_path / "model"))
    other = Decision(np.eye(3, dtype=np.float32)[::-1].copy(), 10.0)
    monkeypatch.setattr(onnx_folder, "whole_graph", lambda *_: whole_graph(tower(), other))
    with pytest.raises(UserError, match=r"batches of 1: logits differ .*Nothing was written"):
        export_onnx(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_logits_that_depend_on_the_batch_are_told(tmp_path: Path) -> None:
    predictor = load_predictor(write_colours(tmp_path / "model"))

    def by_place(batch: np.ndarray) -> np.ndarray:
        return predictor.logits(batch) + 1e-3 * np.arange(len(batch))[:, None]

    with pytest.raises(UserError, match="batches of 7"):
        require_equal(predictor, by_place, pixels(64), "it")
    with pytest.raises(UserError, match=r"differ .* by nan"):
        require_equal(predictor, lambda batch: predictor.logits(batch) * np.nan, pixels(8), "it")


def test_classes_that_tie_count_as_the_same() -> None:
    wanted, found = np.array([[1.0, 1.0 + 1e-6]]), np.array([[1.0 + 1e-6, 1.0]])
    assert difference(wanted, found, tie=1e-5).same == 1
    assert difference(wanted, found).same == 0


def test_an_old_tower_is_refused() -> None:
    old = onnx.load_from_string(tower())
    del old.opset_import[:]
    old.opset_import.append(helper.make_opsetid("", 17))
    with pytest.raises(UserError, match="operators 17, wanted 18"):
        whole_graph(old.SerializeToString(), decisions()["plain"])


def test_pictures_come_evenly_from_all_of_a_folder(tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "pictures", 9)
    assert [path.name for path in some_pictures(folder, 3)] == ["000.png", "004.png", "008.png"]
    assert len(some_pictures(folder, 64)) == 9
    with pytest.raises(UserError, match="Give --pictures"):
        some_pictures(tmp_path / "nothing", 3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--to", "web", "--int8"], "--int8 goes with --to onnx"),
        (["--to", "onnx", "--ort-web", "x"], "--ort-web goes with --to web"),
        (["--to", "onnx", "--student", "a:b"], "--student goes with --to open_clip"),
        (["--to", "onnx", "--int8"], "--int8 needs --pictures"),
        (["--to", "onnx", "--pictures", "nowhere"], "nowhere: no folder of pictures"),
        (["--to", "onnx", "--out", "model"], "model: is there, and is no export"),
    ],
)
def test_mistakes_are_told_in_a_line(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_colours(Path("model"))
    done = CliRunner().invoke(main, ["export", "model", "--out", "out", *words])
    assert done.exit_code == 2
    assert says in done.output
    assert not Path("out").exists()


def test_an_export_takes_the_place_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_colours(Path("model"))
    words = ["export", "model", "--to", "onnx", "--out", "out"]
    for _ in range(2):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
    assert "written: out. Then: read out/README.md" in done.output
