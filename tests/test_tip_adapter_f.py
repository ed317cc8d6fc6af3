"""Tip-Adapter-F: Tip-Adapter where it starts, and its formula, a region and a shot at a time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit
from plain_loss import SCALE, SEEDS, batch_of, cross_entropy, has_slopes
from small_pipeline import decision, goes_through, small_params

from fdbpl.clip.model import ClipModel
from fdbpl.methods.params import TrainParams
from fdbpl.methods.registry import find_method
from fdbpl.stages import run_stage
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import learn

NAMES, SHOTS = ("cat", "dog", "sea side"), 4
METHOD = find_method("tip_adapter_f")


def features() -> dict[str, Any]:
    """Three classes around three directions: something to learn."""
    rng = np.random.default_rng(0)
    labels = np.arange(len(NAMES) * SHOTS) % len(NAMES)
    centres = unit(rng, len(NAMES), 32)
    regions = centres[labels] + 0.8 * unit(rng, len(labels), 32)
    return {
        "student": (regions / np.linalg.norm(regions, axis=1, keepdims=True)).astype(np.float32),
        "teacher": unit(rng, len(labels), 24),
        "teacher_vectors": unit(rng, len(NAMES), 24),
        "teacher_scale": SCALE,
        "labels": labels,
        "anchors": unit(rng, len(NAMES), 32),
    }


def test_the_loss_and_its_slopes_are_those_of_the_formula() -> None:
    batch = batch_of(8, 3)
    draw = torch.Generator().manual_seed(1)
    keys = torch.randn(SEEDS, 4, 8, generator=draw, dtype=torch.float64)
    labels = torch.randint(3, (SEEDS, 4), generator=draw).float()
    data: Any = SimpleNamespace(scale=SCALE)

    def loss(keys: torch.Tensor) -> torch.Tensor:
        return METHOD.loss({"keys": keys, "labels": labels}, batch, data)["cross_entropy"]

    for run, value in enumerate(loss(keys).tolist()):
        logits = []
        for f in batch.student[run].numpy():
            z = SCALE * batch.require("anchors").numpy() @ f
            for key, label in zip(keys[run].numpy(), labels[run].int().tolist(), strict=True):
                z[label] += 1.0 * np.exp(-5.5 * (1 - f @ key))
            logits.append(z)
        wanted = cross_entropy(logits, batch.labels[run].tolist())
        assert value == pytest.approx(wanted, rel=1e-10)
    has_slopes(loss, keys)


def test_the_loss_falls_and_the_keys_alone_move(clip: ClipModel) -> None:
    params = TrainParams(epochs=8, batch=4)
    known = {**features(), "params": params}
    found = learn(clip, NAMES, **known, method="tip_adapter_f", options={"lr": 0.02})[1]
    start = learn(clip, NAMES, **known, method="tip_adapter")[1]
    terms = found.history["terms"]["cross_entropy"]
    assert terms[-1] < terms[0]
    assert set(found.arrays) == {"keys", "labels"}
    np.testing.assert_array_equal(found.arrays["labels"], start.arrays["labels"])
    assert not np.allclose(found.arrays["keys"], start.arrays["keys"], atol=1e-5)


def test_it_goes_through_the_pipeline(tmp_path: Path) -> None:
    goes_through(tmp_path, "tip_adapter_f", transfers=False)


def test_unmoved_it_decides_as_tip_adapter(tmp_path: Path) -> None:
    names = ["tip_adapter", "tip_adapter_f"]
    params = small_params(tmp_path, names, objectives={"tip_adapter_f": {"lr": 1e-30}})
    work = Workspace(tmp_path / "work")
    for stage in ("prepare_crops", "cache_teacher", "train_student"):
        run_stage(stage, params, work, "here")
    images = unit(np.random.default_rng(0), 5, 128)
    wanted, found = (decision(params, work, name).logits(images, range(4)) for name in names)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
