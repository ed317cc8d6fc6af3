"""The stage on small workspaces, drawn and one's own, with random vectors in place of models."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unit
from PIL import Image
from workspaces import DIM, SCALE, FakeEncoder, evaluated_workspace, workspace_params

from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.classify.decision import Discriminant
from fdbpl.data.splits import halve
from fdbpl.evaluation.logits import log_softmax
from fdbpl.evaluation.ood import auroc
from fdbpl.playground import datasets as playground
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.regions.plan import Plan
from fdbpl.reporting.ood_report import datasets_table, scores_table
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.ood import learned_regions, open_scorer, samples
from fdbpl.stages.tasks import task_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

METHODS = ["zero_shot", "zero_shot_generic", "teacher", "coop", "fdbpl_prompts"]


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
    for dataset, seed in product(params.datasets, params.seeds):
        with_memory(
            work.learned(dataset, "base-to-new", "fdbpl_prompts", seed, "classifier"),
            work.plan(dataset),
        )
    run_stage("ood", params, work, None)
    return work


def with_memory(path: Path, plan: Path) -> None:
    """Give a classifier a memory, drawn at random."""
    found = Artifact.load(path, "classifier")
    decision, base = decision_of(found), list(halve(Plan.load(plan).labels)[0])
    rows, seen = np.zeros((len(decision.vectors), DIM + 1)), np.zeros(len(decision.vectors))
    rows[base], seen[base] = unit(np.random.default_rng(len(base)), len(base), DIM + 1), 1
    remembering = replace(decision, parts={"memory": Discriminant(rows, seen, 0.5, "silent")})
    about = {**found.about, "decision": remembering.spec()}
    Artifact({**found.arrays, **remembering.arrays()}, about).save(path)


@pytest.fixture
def copied(done: Workspace, tmp_path: Path) -> Workspace:
    """The workspace where it may be changed."""
    for part in ("plans", "caches", "prompts"):
        shutil.copytree(done.root / part, tmp_path / part)
    return Workspace(tmp_path)


def record(work: Workspace) -> dict[str, Any]:
    return json.loads(work.ood("json").read_text())


def test_the_layout(done: Workspace) -> None:
    found = record(done)
    kinds = ["empty", "near", "far"]
    assert list(found["counts"]["vehicles"]) == kinds
    assert list(found["counts"]["pets"]) == kinds[1:]  # no masks, so nobody knows what is empty
    empty, near, _ = (found["counts"]["vehicles"][kind] for kind in kinds)
    assert empty["id"] == empty["ood"]
    assert near == {"id": 20, "ood": 20}
    more = {"zero_shot_generic": ["no_prompt"], "fdbpl_prompts": ["energy_mahalanobis"]}
    assert list(found["methods"]) == METHODS
    for method, result in found["methods"].items():
        assert list(result["scores"]) == ["energy", *more.get(method, [])]
        for score in result["scores"].values():
            assert list(score) == kinds
            assert list(score["empty"]["datasets"]) == ["vehicles"]
            assert list(score["near"]["datasets"]) == ["vehicles", "pets", "fruit"]
            cell = score["near"]["datasets"]["fruit"]
            assert list(cell["seeds"]) == ["1", "2"]
            assert set(cell["seeds"]["1"]) == {"auroc", "fpr95"}
            mean = np.mean([cell["seeds"][seed]["auroc"] for seed in "12"])
            assert cell["auroc"] == pytest.approx(mean)
            average = np.mean([one["fpr95"] for one in score["near"]["datasets"].values()])
            assert score["near"]["avg"]["fpr95"] == pytest.approx(average)
        assert list(result["ece"]["datasets"]) == ["vehicles", "pets", "fruit"]
        if method in ("zero_shot", "teacher"):  # they learn nothing
            seeds = result["scores"]["energy"]["far"]["datasets"]["pets"]["seeds"]
            assert seeds["1"] == seeds["2"]


def test_everything_again_gives_the_same_bytes(done: Workspace, params: Params) -> None:
    before = {suffix: done.ood(suffix).read_bytes() for suffix in ("json", "md", "png")}
    lines = run_stage("ood", params, done, None)
    assert before == {suffix: done.ood(suffix).read_bytes() for suffix in before}
    assert "| FDBPL, ours" in "\n".join(lines)
    assert Image.open(done.ood("png")).format == "PNG"


def test_numbers_come_from_base_classes_and_the_models_own_features(
    done: Workspace, params: Params
) -> None:
    one = samples(params, done)[0]
    task = task_of(params, one.plan, BASE_TO_NEW, 2)
    role, scorer = open_scorer("coop", 2, params, task, one.caches, done)
    vectors = scorer.decision.vectors[list(task.labels)].astype(float)
    sides = [
        np.log(np.exp(SCALE * features.astype(float) @ vectors.T).sum(axis=1))
        for features in one.sides["near"][role]
    ]
    found = record(done)["methods"]["coop"]["scores"]["energy"]["near"]["datasets"]["vehicles"]
    assert found["seeds"]["2"]["auroc"] == pytest.approx(auroc(*sides))


def test_the_distance_is_to_the_regions_that_the_seed_learned_from(
    done: Workspace, params: Params
) -> None:
    one = samples(params, done)[0]
    plan, task = one.plan, task_of(params, one.plan, BASE_TO_NEW, 2)
    rows, picks = learned_regions(task, 2), task.picks[2]
    assert set(plan.regions["image"][rows]) == set(picks)
    assert len(rows) == len(picks) * plan.crops
    _, scorer = open_scorer("fdbpl_prompts", 2, params, task, one.caches, done)
    assert scorer.gaussians
    features = one.caches["student"].features("train", rows)
    weights = np.exp(log_softmax(scorer.logits(features))) * plan.areas(rows)[:, None]
    means = weights.T @ features / weights.sum(axis=0)[:, None]
    np.testing.assert_allclose(scorer.gaussians.means, means, rtol=1e-4, atol=1e-6)


def test_the_tables_have_a_row_for_each_method_and_score(done: Workspace) -> None:
    found = record(done)
    assert len(scores_table(found).splitlines()) == 2 + len(METHODS) + 2
    assert datasets_table(found, "empty").splitlines()[0].split("|")[3].strip() == "vehicles"
    del found["methods"]["fdbpl_prompts"]["scores"]["energy_mahalanobis"][
        "empty"
    ]  # a score may lack it
    assert scores_table(found).splitlines()[-1].split("|")[3].strip() == "-"
    assert datasets_table(found, "empty").splitlines()[-1].split("|")[3].strip() == "-"


def test_one_dataset_alone_has_no_far_images_and_needs_no_torch(
    copied: Workspace, params: Params, tmp_path: Path
) -> None:
    (tmp_path / "params.json").write_text(
        params.model_copy(update={"datasets": ["pets"]}).model_dump_json()
    )
    code = (
        "import sys; from pathlib import Path; from fdbpl.settings.params import read_params;"
        "from fdbpl.stages import run_stage; from fdbpl.system.workspace import Workspace;"
        f"run_stage('ood', read_params(Path({str(tmp_path / 'params.json')!r})),"
        f"Workspace(Path({str(copied.root)!r})), None); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(record(copied)["counts"]["pets"]) == ["near"]


def test_methods_without_class_vectors_have_no_score(copied: Workspace, params: Params) -> None:
    fitted = params.model_copy(update={"methods": ["linear_probe", "gda"], "datasets": ["pets"]})
    (line,) = run_stage("ood", fitted, copied, None)
    assert line == "No method has class vectors, so there is no OOD score."
    assert copied.ood("md").read_text() == f"{line}\n"
    assert record(copied)["methods"] == {}
    assert Image.open(copied.ood("png")).format == "PNG"


def test_a_missing_classifier_is_a_users_mistake(copied: Workspace, params: Params) -> None:
    path = copied.learned("pets", "base-to-new", "coop", 2, "classifier")
    path.unlink()
    with pytest.raises(UserError, match=path.name):
        run_stage("ood", params, copied, None)
