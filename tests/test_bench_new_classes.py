"""The ways that `bench.new_classes` compares are what they say."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from workspaces import draw, prepare, workspace_params

from bench import new_classes
from bench.new_classes_ways import LIMITS, OTHERS, SHARE, TRIED, WRITTEN, Both
from fdbpl.cache.cache import open_cache
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.methods.inference import Inference
from fdbpl.workspace import Workspace

DATASETS = ["birds", "boats"]
EVERY_WAY = {**WRITTEN, **TRIED, **LIMITS}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("new_classes")
    params = workspace_params(root, DATASETS)
    made = Workspace(root)
    for dataset in DATASETS:
        draw(params, dataset)
        prepare(params, dataset, made)
    return made


@pytest.fixture
def every(work: Workspace) -> list[Both]:
    return [Both.open(str(work.root), name) for name in DATASETS]


def reached(one: Both, scores: NDArray) -> float:
    return 100 * float(one.right(scores).mean())


def test_the_template_and_the_teacher_are_judged_as_the_pipeline_judges(work, every) -> None:
    for one in every:
        labels = one.plan.images["label"][one.plan.test]
        for role, title in (("student", "the template"), ("teacher", "teacher")):
            cache = open_cache(work.cache(one.plan.name, role))
            decision = Inference().decision(
                cache.text("template")[None], 10.0, one.plan.class_names
            )
            wanted = accuracy(cache.features("test"), labels, decision, one.plan.new)
            assert reached(one, EVERY_WAY[title](one, 1, every)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("title", "moments"),
    [
        (new_classes.BRIDGE, lambda one, every: one.of_shots(2)),
        ("a bridge of the regions of all datasets",
         lambda one, every: every[0].of_shots(2) + every[1].of_shots(2)),
    ],
)  # fmt: skip
def test_a_bridge_adds_to_the_template_what_inference_adds(
    every: list[Both], title: str, moments: Callable
) -> None:
    for one in every:
        bridge = moments(one, every).bridge()
        decision = Inference(template_share=1.0, bridge_share=SHARE).decision(
            one.names[0][None], 1.0, one.plan.class_names,
            template=one.names[0], teacher=one.names[1], bridge=bridge,
        )  # fmt: skip
        wanted = decision.logits(one.images[0], range(len(one.plan.class_names)))
        assert np.allclose(EVERY_WAY[title](one, 2, every), wanted, atol=1e-5)


def test_one_of_equal_prompts_is_as_good_as_the_template(every: list[Both]) -> None:
    title = "of three prompts the one that agrees most with the teacher, with the bridge"
    for one in every:
        found, wanted = (EVERY_WAY[way](one, 1, every) for way in (title, new_classes.BRIDGE))
        assert np.array_equal(found, wanted)


def test_the_other_datasets_regions_stand_in_for_ones_own(every: list[Both]) -> None:
    birds, boats = every
    mean, elsewhere = birds.of_shots(1).bridge()[:, :1], boats.of_shots(1).bridge()[:, 1:]
    wanted = birds.across(np.hstack([mean, 1000 * elsewhere]), share=1.0)
    assert np.allclose(EVERY_WAY[OTHERS](birds, 1, every), wanted, atol=1e-9)


def test_no_image_is_judged_by_a_bridge_that_saw_it(every: list[Both]) -> None:
    way = EVERY_WAY["a bridge of other images of the same classes"]
    one, other = every[0], every[1]
    for image in range(3):
        moved = one.images[1].copy()
        moved[image] = other.images[1][image]  # the teacher's view of one image
        scores = way(replace(one, images=(one.images[0], moved)), 1, every)
        changed = np.abs(scores - way(one, 1, every)).max(axis=1) > 1e-12
        assert not changed[image]
        assert changed.any()


def test_every_way_tells_something_of_every_image(every: list[Both]) -> None:
    for one in every:
        for way in EVERY_WAY.values():
            scores = way(one, 1, every)
            assert scores.shape == (len(one.images[0]), len(one.plan.class_names))
            assert np.isfinite(scores).all()


@pytest.mark.parametrize("tried", [True, False])
def test_the_table_counts_what_is_above_the_generic_prompt(
    work: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: bool
) -> None:
    for names in ("DEVELOPMENT", "EVIDENCE"):
        monkeypatch.setattr(new_classes, names, ",".join(DATASETS))
    path = tmp_path / "found.json"
    words = ["--work", str(work.root), "--seeds", "1,2", "--json", str(path)]
    run = CliRunner().invoke(new_classes.main, [*words, *(["--tried"] if tried else [])])
    assert run.exit_code == 0, run.output
    found = json.loads(path.read_text())
    rows = found["runs"][str(work.root)]
    ways = {**WRITTEN, **(TRIED if tried else LIMITS)}
    assert list(rows)[1:-1] == list(ways)
    assert rows["the template"] == [0.0, 0.0]  # the generic prompt's vectors are the template's
    assert all(error >= 0 for error in rows["standard error of the bridge's"])
    lines = new_classes.section(found).splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines if "|" in line}
    for way in ways:
        assert cells[way][-1].strip() == f"{sum(value > 0 for value in rows[way])} of 2"
        assert float(cells[way][-2]) == pytest.approx(np.mean(rows[way]), abs=0.051)
