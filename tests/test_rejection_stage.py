"""The stage on small workspaces, drawn and one's own, with random vectors in place of models."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from workspaces import FakeEncoder, evaluated_workspace, workspace_params

from fdbpl.evaluation.accuracy import accuracy
from fdbpl.evaluation.rejection import auroc
from fdbpl.playground import datasets as playground
from fdbpl.reporting.rejection_report import SCORE_TITLES, datasets_table, scores_table, usual_table
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.rejection import sample
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

METHODS = ["zero_shot", "zero_shot_generic", "teacher", "coop", "fdbpl"]


@pytest.fixture(scope="module")
def small_world() -> Iterator[None]:
    """The playground with few images a class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playground, "SPLITS", {"train": 2, "val": 1, "test": 2})
        playground.world_digest.cache_clear()
        patch.setattr(
            "fdbpl.stages.cache_teacher.image_encoder",
            lambda params, role: FakeEncoder({"student": "small", "teacher": "large"}[role]),
        )
        yield
    playground.world_digest.cache_clear()


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    root = tmp_path_factory.mktemp("project")
    found = workspace_params(root, ["pets", "fruit"], methods=METHODS)
    data = found.data.model_copy(update={"root": str(root / "data")})
    cache = found.cache.model_copy(update={"store": str(root / "store")})
    datasets = ["vehicles", "pets", "fruit"]
    return found.model_copy(update={"datasets": datasets, "data": data, "cache": cache})


@pytest.fixture(scope="module")
def done(small_world: None, params: Params) -> Workspace:
    work = evaluated_workspace(Path(params.data.root).parent, params)
    run_stage("rejection", params, work, None)
    return work


def record(work: Workspace) -> dict[str, Any]:
    return json.loads(work.rejection("json").read_text())


def test_the_layout(done: Workspace) -> None:
    found = record(done)
    kinds = ["empty", "new-class", "other-dataset"]
    assert list(found["counts"]["vehicles"]) == kinds
    assert list(found["counts"]["pets"]) == kinds[1:]  # no masks, so nobody knows what is empty
    empty, new, _ = (found["counts"]["vehicles"][kind] for kind in kinds)
    assert empty["inside"] == empty["outside"]
    assert new == {"inside": 20, "outside": 20}
    assert list(found["methods"]) == METHODS
    for method, result in found["methods"].items():
        two = method in ("zero_shot_generic", "fdbpl")
        assert list(result["scores"]) == list(SCORE_TITLES)[: None if two else 3]
        for score in result["scores"].values():
            assert list(score) == kinds
            assert list(score["empty"]["datasets"]) == ["vehicles"]
            assert list(score["new-class"]["datasets"]) == ["vehicles", "pets", "fruit"]
            cell = score["new-class"]["datasets"]["fruit"]
            assert list(cell["seeds"]) == ["1", "2"]
            assert set(cell["seeds"]["1"]) == {"auroc", "fpr95"}
            mean = np.mean([cell["seeds"][seed]["auroc"] for seed in "12"])
            assert cell["auroc"] == pytest.approx(mean)
            cells = score["new-class"]["datasets"].values()
            average = np.mean([one["fpr95"] for one in cells])
            assert score["new-class"]["avg"]["fpr95"] == pytest.approx(average)
        assert list(result["ece"]["datasets"]) == ["vehicles", "pets", "fruit"]


def test_what_learns_nothing_is_the_same_for_every_seed(done: Workspace) -> None:
    for method in ("zero_shot", "teacher"):
        for score in record(done)["methods"][method]["scores"].values():
            for cell in score["other-dataset"]["datasets"].values():
                assert cell["seeds"]["1"] == cell["seeds"]["2"]


def test_everything_again_gives_the_same_bytes(done: Workspace, params: Params) -> None:
    before = {suffix: done.rejection(suffix).read_bytes() for suffix in ("json", "md", "png")}
    lines = run_stage("rejection", params, done, None)
    assert before == {suffix: done.rejection(suffix).read_bytes() for suffix in before}
    assert "| FDBPL, ours" in "\n".join(lines)
    assert Image.open(done.rejection("png")).format == "PNG"


def test_numbers_come_from_base_classes_and_the_models_own_features(
    done: Workspace, params: Params
) -> None:
    one = next(iter(sample(params, done)))
    base = list(one.plan.base)
    decision = one.classifiers.open("coop", 2).decision
    vectors = decision.vectors
    inside, outside = (
        (features.astype(float) @ vectors[base].T.astype(float)).max(axis=1)
        for features in one.pairs["new-class"]["student"]
    )
    found = record(done)["methods"]["coop"]["scores"]["max_logit"]["new-class"]
    wanted = auroc(10 * inside, 10 * outside)
    assert found["datasets"]["vehicles"]["seeds"]["2"]["auroc"] == pytest.approx(wanted)
    _, scorer = one.scorer("coop", 2)
    chosen = np.asarray(base)[scorer.logits(one.images["student"]).argmax(axis=1)]
    share = 100 * np.mean(chosen == one.labels)
    assert share == pytest.approx(accuracy(one.images["student"], one.labels, decision, base))


def test_the_tables_have_a_row_for_each_method_and_score(done: Workspace) -> None:
    found = record(done)
    assert len(scores_table(found).splitlines()) == 2 + 3 * 3 + 2 * 7
    assert len(usual_table(found).splitlines()) == 2 + 3 * 2 + 2 * 3
    assert datasets_table(found, "empty").splitlines()[0].split("|")[3].strip() == "vehicles"


def test_one_dataset_alone_has_no_foreign_images_and_needs_no_torch(
    done: Workspace, params: Params, tmp_path: Path
) -> None:
    (tmp_path / "params.json").write_text(
        params.model_copy(update={"datasets": ["pets"]}).model_dump_json()
    )
    code = (
        "import sys; from pathlib import Path; from fdbpl.settings.params import read_params;"
        "from fdbpl.stages import run_stage; from fdbpl.system.workspace import Workspace;"
        f"run_stage('rejection', read_params(Path({str(tmp_path / 'params.json')!r})),"
        f"Workspace(Path({str(done.root)!r})), None); assert 'torch' not in sys.modules"
    )
    before = done.rejection("json").read_bytes()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(record(done)["counts"]["pets"]) == ["new-class"]
    done.rejection("json").write_bytes(before)


def test_classifiers_of_base_classes_alone_reject_nothing(done: Workspace, params: Params) -> None:
    before = {suffix: done.rejection(suffix).read_bytes() for suffix in ("json", "md", "png")}
    fitted = params.model_copy(update={"methods": ["linear_probe", "gda"], "datasets": ["pets"]})
    (said,) = run_stage("rejection", fitted, done, None)
    assert said == "No method has class vectors, so there is nothing to reject by."
    assert done.rejection("md").read_text() == f"{said}\n"
    found = record(done)
    assert (found["counts"], found["methods"]) == ({}, {})
    for suffix, content in before.items():
        done.rejection(suffix).write_bytes(content)


def test_a_missing_classifier_is_a_users_mistake(done: Workspace, params: Params) -> None:
    path = done.learned("pets", "coop", 2, "classifier")
    aside = path.rename(path.with_suffix(".aside"))
    try:
        with pytest.raises(UserError, match=path.name):
            run_stage("rejection", params, done, None)
    finally:
        aside.rename(path)
