"""The playground's judge: a memory of looks, failing criteria, and figures of old editions."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from bench import playground
from fdbpl.playground import datasets

SOUND = playground.Figures(
    classes=20,
    generic=(50.0, 70.0),
    template=(55.0, 70.0),
    teacher=(75.0, 85.0),
    looks=75.0,
    coop=[(65.0, 60.0), (67.0, 62.0)],
)


def figures(shifted_looks: float) -> dict[str, playground.Figures]:
    """Return figures of a sound playground, but for looks on its shifted versions."""
    shifted = replace(SOUND, looks=shifted_looks, coop=[])
    return dict.fromkeys(datasets.DATASETS, SOUND) | dict.fromkeys(datasets.SHIFTED, shifted)


def test_class_means_find_the_classes_they_were_taken_from() -> None:
    labels = np.arange(40) % 4
    centres = torch.eye(4, 8)
    noise = 0.1 * torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    features = functional.normalize(centres[labels] + noise, dim=1)
    means = playground.class_means(features, labels, np.array([1, 2]))
    assert torch.allclose(means.norm(dim=1), torch.ones(2))
    assert (means @ centres.T).argmax(1).tolist() == [1, 2]


def test_looks_that_gain_under_shift_fail_the_playground() -> None:
    assert all(holds for _, _, holds in playground.verdicts(figures(shifted_looks=50.0)))
    failing = [text for text, _, holds in playground.verdicts(figures(60.0)) if not holds]
    assert [text[:3] for text in failing] == ["(e)"]


def test_the_page_keeps_the_figures_of_editions_before_this_one() -> None:
    page = playground.page(figures(50.0), lr=0.02)
    titles = [line for line in page.splitlines() if line.startswith("## Withdrawn")]
    assert titles == [f"## Withdrawn: edition {n}" for n in range(1, datasets.EDITION)]
    assert f"Figures are of edition {datasets.EDITION} " in page
