"""A model of a run behind MLflow: what goes in, what comes out, and which files it reads."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from drawn_run import DrawnRun, drawn_run
from mlflow.exceptions import MlflowException

from fdbpl.serving.card import card_files
from fdbpl.serving.make import save_model
from fdbpl.serving.predictor import load_predictor
from fdbpl.serving.stream import answers
from fdbpl.tracking.classifier import columns
from fdbpl.tracking.models import save_as_mlflow

PATHS = {"allow_paths": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrawnRun]:
    """A run whose model of fdbpl lies in `packed`, and as MLflow's in `model`."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = drawn_run(folder, methods=["fdbpl"], protocols=["all-classes"])
        made = run.made("fdbpl")
        save_model(Path("packed"), made, card_files(made.about))
        save_as_mlflow(Path("packed"), Path("model"))
        yield run


@pytest.fixture(scope="module")
def model(run: DrawnRun) -> Any:
    return mlflow.pyfunc.load_model("model")


def given(*images: Any) -> pd.DataFrame:
    return pd.DataFrame({"image": list(images)})


def text_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_it_says_of_every_test_picture_what_evaluate_decided(run: DrawnRun, model: Any) -> None:
    found = model.predict(given(*(one.read_bytes() for one in run.pictures)))
    cached = run.cached_logits("fdbpl")
    names = np.array(run.plan.class_names)
    assert list(found["class"]) == list(names[cached.argmax(axis=1)])
    made = run.made("fdbpl")
    wanted = made.calibration.probabilities(cached)
    of_classes = found[columns(names)].to_numpy()
    assert np.abs(of_classes - wanted).max() <= 1e-4
    assert (found["probability"] == of_classes.max(axis=1)).all()
    assert np.allclose(of_classes.sum(axis=1), 1)
    predictor = load_predictor(Path("packed"))
    told = [one.prediction for one in answers(predictor, map(str, run.pictures), threads=1)]
    assert list(found["class"]) == [one.top[0][0] for one in told if one]
    assert np.allclose(found["score"], [one.score for one in told if one])
    assert list(found["known"]) == [one.known for one in told if one]


def test_bytes_base64_and_paths_are_one_picture(run: DrawnRun) -> None:
    model = mlflow.pyfunc.load_model("model", model_config=PATHS)
    path = run.pictures[0]
    text = text_of(path)
    lines = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    found = model.predict(given(path.read_bytes(), text, lines, str(path), path))
    assert len(found) == 5
    assert len(found.drop_duplicates()) == 1
    listed = model.predict({"image": [str(path), text]})  # MLflow makes one row of it
    assert listed.equals(found[:2])
    many = model.predict(given(*[str(path)] * 70))
    assert len(many) == 70
    assert np.allclose(many["score"], found["score"][0])


def test_what_is_no_picture_is_named_by_its_row(run: DrawnRun, model: Any) -> None:
    whole = run.pictures[0].read_bytes()
    for wrong, said in (
        (whole[:200], r"row 2: cannot be decoded \(200 bytes"),
        ("no base64!", r"row 2: 'no base64!' is not the base64 of a picture's file"),
        (base64.b64encode(b"words").decode(), r"row 2: cannot be decoded \(5 bytes"),
        (b"", r"row 2: cannot be decoded \(0 bytes, an empty file\)"),
        (7, "row 2: int, wanted the bytes"),
        (None, "row 2: NoneType, wanted the bytes"),
    ):
        with pytest.raises(MlflowException, match=said):
            model.predict(given(whole, whole, wrong))
    with pytest.raises(MlflowException, match="no picture"):
        model.predict(given())
    with pytest.raises(MlflowException, match="missing inputs"):
        model.predict(pd.DataFrame({"picture": [whole]}))


def test_no_path_is_read_unless_whoever_loads_the_model_says_so(run: DrawnRun, model: Any) -> None:
    path = str(run.pictures[0])
    with pytest.raises(
        MlflowException, match=r"row 0: .* paths are read where the model is loaded"
    ):
        model.predict(given(path))
    with pytest.raises(MlflowException, match="row 0"):  # nor by a parameter of a request
        model.predict(given(path), params={"allow_paths": True})
    with_paths = mlflow.pyfunc.load_model("model", model_config=PATHS)
    assert len(with_paths.predict(given(path))) == 1
    with pytest.raises(MlflowException, match=r"row 0: .* no file has this name"):
        with_paths.predict(given(f"{path}.gone"))
    Path("broken.png").write_bytes(run.pictures[0].read_bytes()[:200])
    with pytest.raises(MlflowException, match=r"row 1: broken\.png: cannot be decoded"):
        with_paths.predict(given(path, "broken.png"))
    for other in ("yes", 1, None):
        model = mlflow.pyfunc.load_model("model", model_config={"allow_paths": other})
        with pytest.raises(MlflowException, match="row 0"):
            model.predict(given(path))


def test_keep_chooses_the_threshold(run: DrawnRun, model: Any) -> None:
    images = given(*(one.read_bytes() for one in run.pictures))
    kept = {keep: model.predict(images, params={"keep": keep})["known"].mean() for keep in (90, 99)}
    assert kept[90] == pytest.approx(0.9, abs=0.01)
    assert kept[99] == pytest.approx(0.99, abs=0.01)
    assert model.predict(images)["known"].mean() == pytest.approx(0.95, abs=0.01)
    with pytest.raises(MlflowException, match="keep is 91, wanted one of 90, 95, 99"):
        model.predict(images, params={"keep": 91})


def test_classes_with_one_name_have_columns_of_their_own() -> None:
    assert columns(["crane", "known", "crane"]) == [
        "probability/crane",
        "probability/known",
        "probability/crane (2)",
    ]


def test_predictions_load_no_torch(run: DrawnRun) -> None:
    code = (
        "import sys, mlflow, pandas;"
        "model = mlflow.pyfunc.load_model('model', model_config={'allow_paths': True});"
        "model.predict(pandas.DataFrame({'image': [sys.argv[1]]}));"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.pictures[0])],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "False"
