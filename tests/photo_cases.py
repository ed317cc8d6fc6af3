"""Small development sets of random features, for the trials on photographs."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fdbpl.classify.decision import unit
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.clip.vectors import template_vectors
from fdbpl.methods.params import TrainParams
from studies.photographs import development, rejecting, steps, trials
from studies.photographs.development import Case
from studies.photographs.pair import Photos

SETS = {
    "pets": ("a cat", "a dog", "an elk"),
    "birds": ("a tit", "a jay", "a rook"),
    "ships": ("raft", "boat", "tug", "ark"),
}
TEMPLATE = "a photo of a {}."
TEMPLATES = {"student": TEMPLATE, "teacher": "art of a {}.", "second": "a {}."}


@pytest.fixture
def photo_pair(clip: ClipModel, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two small datasets of development and a source, as both models see them at random."""
    about = {name: SimpleNamespace(template=TEMPLATE) for name in SETS}
    monkeypatch.setattr(trials, "DATASETS", about)
    for module in (development, rejecting, trials):
        monkeypatch.setattr(module, "DEVELOPMENT", ("pets", "birds"))
    monkeypatch.setattr(trials, "SCHEDULE", TrainParams(lr=0.01, epochs=2, batch=4))
    monkeypatch.setattr(steps, "EPOCHS", 2)
    monkeypatch.setattr(steps, "STEPS", 3)
    rng, projection = np.random.default_rng(0), last_projection(clip).numpy()
    width, joint = projection.shape

    def photos(classes: int) -> Photos:
        labels = np.repeat(np.arange(classes), 6)
        hidden, teacher = (unit(rng.standard_normal((len(labels), one))) for one in (width, joint))
        return Photos(labels, hidden, unit(hidden @ projection), teacher)

    return SimpleNamespace(
        source="ships",
        student=clip,
        teacher=clip,
        second=clip,
        names=SETS,
        seen={
            part: {name: photos(len(names)) for name, names in SETS.items()}
            for part in ("train", "test")
        },
        texts={
            (name, of): template_vectors(clip, names, template)
            for name, names in SETS.items()
            for of, template in TEMPLATES.items()
        },
    )


@pytest.fixture
def photo_case(photo_pair: Any) -> Case:
    """A seed of the first."""
    return Case(photo_pair, "pets", 11)
