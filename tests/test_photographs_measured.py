"""The numbers of the small models' card, of made-up datasets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unit
from packed import pack_dataset

from fdbpl import api
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from studies.photographs import card, measured
from studies.photographs.parts import DATASETS, read_part
from studies.photographs.unheard import UNHEARD


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return api.load("fdbpl-tiny-student", "tiny")


def test_what_is_measured_of_made_up_datasets(
    clip: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dataset in DATASETS:
        likes = UNHEARD.get(dataset, {}).values()
        classes = [like.replace(" ", "_") for like in {"some other", "thing", *likes}]
        pack_dataset(tmp_path, dataset, classes, train=1, test=1)

    def hidden(folder: Path, part: str, model: str, out: Path, say: Any) -> dict[str, Any]:
        rng = np.random.default_rng([len(part), len(model)])
        sizes = {name: len([*read_part(folder, name, part)]) for name in DATASETS}
        return {name: unit(rng, n, len(last_projection(clip))) for name, n in sizes.items()}

    monkeypatch.setattr(measured.api, "load", lambda model, weights: clip)
    monkeypatch.setattr(measured, "features", hidden)
    found = measured.measured(tmp_path, None, tmp_path, print)
    assert found["full_size"] is None
    assert found["zero_shot"]["dtd"]["chance"] == 50
    assert found["zero_shot"]["rsscn7"]["classes"] == 2 + 5
    assert found["probe"]["rsscn7"]["base_classes"] == 4
    assert {*found["probe"]["cifar10"]["seeds"]} == {"1", "2", "3"}
    own = found["unheard"]["summaries"]["teacher"]["own"]
    named = [row["teacher"]["rank"] for row in found["unheard"]["names"]]
    assert own["median"] == np.median(named)
    assert max(named) <= found["unheard"]["classes"]
    assert own["p"] > 1e-3  # random features
    assert card.page(found, "commit abc123")
