"""What a bridge explains of the teacher's features, and how the page says it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_pipeline import CLASSES, run_all, small_params

from fdbpl.regions.plan import Plan
from fdbpl.stages.caches import open_caches
from fdbpl.stages.learned import open_learned
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.workspace import Workspace
from studies.photographs.explained import BRIDGES, bridges, explained, share

METHODS = ["zero_shot", "template_bridge", "template_own_bridge"]


@given(st.integers(0, 99), st.floats(-1, 2))
def test_the_share_explained_has_its_known_values(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    wanted, offset = rng.standard_normal((20, 5)), rng.standard_normal(5)
    assert share(wanted, wanted + offset) == pytest.approx(100)
    assert share(wanted, np.tile(offset, (20, 1))) == pytest.approx(0)
    assert share(wanted, factor * wanted) == pytest.approx(100 * (1 - (1 - factor) ** 2))


def test_half_precision_does_not_overflow() -> None:
    wanted = np.full((2, 4), 300, np.float16) * np.array([[1], [-1]], np.float16)
    assert share(wanted, 0 * wanted) == 0


def test_each_half_is_explained_by_what_its_seeds_learned(tmp_path: Path) -> None:
    params = small_params(tmp_path, METHODS, source="there", protocols=["base-to-new"])
    work = Workspace(tmp_path / "work")
    run_all(params, work)
    plan = Plan.load(work.plan("here"))
    (task,) = tasks_of(params, plan)
    caches, truth = open_caches(params, plan, work), plan.images["label"][plan.test]
    hidden, teacher = (caches[role].features("test") for role in ("hidden", "teacher"))
    scale = caches["teacher"].manifest.identity.model["logit_scale"]
    for method in METHODS[1:]:
        found = explained(params, work, "here", method)
        assert list(found) == ["base", "new"]
        for rows, value in zip((truth < 2, truth >= 2), found.values(), strict=True):
            left = []
            for seed in params.seeds:
                kept = open_learned("prompts", params, task, work, method, seed)
                gap = teacher[rows] - hidden[rows] @ kept.arrays["bridge"] / scale
                left.append(gap.var(axis=0).sum() / teacher[rows].var(axis=0).sum())
            assert value == pytest.approx(100 - 100 * np.mean(left), abs=1e-3)


def test_the_page_says_what_it_is_worth_by_image_tower() -> None:
    def record(new: float, told: float) -> dict[str, Any]:
        rows = {"zero_shot": 20.0, "template_own_bridge": 30.0, "template_bridge": new}
        cells = {
            method: {
                "datasets": {
                    name: {"base": joint, "new": joint, "joint": {"base": joint, "new": joint}}
                    for name in CLASSES
                }
            }
            for method, joint in rows.items()
        }
        halves = {"base": told, "new": 1.0}
        return {"methods": cells, "explained": dict.fromkeys(CLASSES, halves)}

    records = {BRIDGES["ViT"]: record(10.0, 12.0), BRIDGES["EfficientNet"]: record(45.0, 50.0)}
    title, about, table, _, said = bridges(records)
    assert title.startswith("## ")
    assert ", ".join(CLASSES) in about
    lines = [[one.strip() for one in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[2] == ["EfficientNet", "50.00", "1.00", "20.00", "30.00", "45.00"]
    assert lines[3] == ["ViT", "12.00", "1.00", "20.00", "30.00", "10.00"]
    assert "ViT: template + bridge against zero-shot: falls behind it" in said
    assert "EfficientNet: template + bridge against zero-shot: beats it" in said
