"""The source's cached regions, as training on another dataset reads them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_pipeline import CLASSES, small_params

from fdbpl.classify.moments import Moments
from fdbpl.clip.model import load_model
from fdbpl.clip.projection import last_projection
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.caches import open_role
from fdbpl.stages.learned import open_learned
from fdbpl.stages.source_regions import regions_of_source
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

HERE, THERE = CLASSES
METHODS = ("template_own_bridge", "template_bridge")


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return small_params(tmp_path, METHODS)


@pytest.fixture
def work(params: Params, tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path / "work")
    for stage in ("prepare_crops", "cache_teacher"):
        for name in CLASSES:
            run_stage(stage, params, found, name)
    return found


def plan_of(work: Workspace, name: str) -> Plan:
    return Plan.load(work.plan(name))


def test_they_are_all_that_the_source_has_cached(params: Params, work: Workspace) -> None:
    clip = load_model(params.student, "student")
    source = regions_of_source(params, plan_of(work, THERE), work, clip)
    assert source is not None
    pairs, images = source.open()
    plan = plan_of(work, HERE)
    assert len(images) * plan.crops == len(plan.regions)
    hidden, teacher = (
        open_role(role, params, plan, work).features("train") for role in ("hidden", "teacher")
    )
    assert hidden.shape[1] == len(last_projection(clip))
    found = [np.concatenate(parts) for parts in zip(*pairs.weighted(images), strict=True)]
    wanted = (hidden, teacher, plan.areas(np.arange(len(plan.regions))))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert Moments.of(*found).total == pytest.approx(float(wanted[2].sum()), rel=1e-5)


def test_the_source_itself_has_its_own_shots_alone(params: Params, work: Workspace) -> None:
    clip = load_model(params.student, "student")
    assert regions_of_source(params, plan_of(work, HERE), work, clip) is None


def test_only_what_reads_it_needs_the_source(params: Params, work: Workspace) -> None:
    shutil.rmtree(work.cache(HERE, "hidden"))
    alone = params.model_copy(update={"methods": ["template_own_bridge"]})
    assert "2 trainings" in run_stage("train_student", alone, work, THERE)[0]
    with pytest.raises(UserError, match=f"{HERE}.*hidden.*Run fdbpl cache-teacher {HERE}"):
        run_stage("train_student", params, work, THERE)


def test_other_regions_of_the_source_teach_another_bridge(
    params: Params, work: Workspace, tmp_path: Path
) -> None:
    assert "4 trainings, 0 looked up" in run_stage("train_student", params, work, THERE)[0]
    assert "0 trainings, 4 looked up" in run_stage("train_student", params, work, THERE)[0]
    kept = decision(params, work)
    for picture in sorted((tmp_path / HERE).rglob("*.png")):
        with Image.open(picture) as opened:
            turned = opened.transpose(Image.Transpose.ROTATE_180)
        turned.save(picture)
    for stage in ("prepare_crops", "cache_teacher"):
        run_stage(stage, params, work, HERE)
    assert "2 trainings, 2 looked up" in run_stage("train_student", params, work, THERE)[0]
    assert not np.array_equal(decision(params, work), kept)


def decision(params: Params, work: Workspace) -> np.ndarray:
    """The rows of the bridge that the first seed learned there, with the source."""
    task = tasks_of(params, plan_of(work, THERE))[0]
    kept = open_learned("classifier", params, task, work, "template_bridge", 1)
    return kept.arrays["bridge.rows"]
