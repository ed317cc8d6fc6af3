"""A few pictures of made-up classes, and who is told what of them."""

import numpy as np
from hypothesis import strategies as st

from fdbpl.clip import small
from studies.photographs.batches import Batch, Recipe, Sampler
from studies.photographs.captions import Subject

STUDENT = small.PAIR[0]
CLASSES = [
    *(Subject(name, "dtd") for name in ("dots", "stripes", "woven cloth")),
    *(Subject(name, "rsscn7") for name in ("river", "field")),
    Subject("owl", "cifar10"),
]
KINDS = [
    *(Subject(kind, "dtd", is_kind=True) for kind in ("texture", "pattern")),
    Subject("aerial view", "rsscn7", is_kind=True),
    Subject("object", "cifar10", is_kind=True),
]
SUBJECTS = [*CLASSES, *KINDS]
IMAGENET = [Subject(name, None) for name in ("ram (adult male sheep)", "teapot", "ski", "yurt")]
LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5])
DATASET = np.array([one.dataset for one in SUBJECTS])
IS_KIND = np.array([one.is_kind for one in SUBJECTS])

seeds = st.integers(0, 1000)
wholes = st.integers(0, 2**32 - 1)


def batches(recipe: Recipe, seed: int, count: int = 4) -> list[Batch]:
    sampler, rng = Sampler(LABELS, SUBJECTS, recipe), np.random.default_rng(seed)
    return [sampler.draw(rng) for _ in range(count)]


def named(batch: Batch, row: int) -> list[int]:
    """The classes that a batch says are right for one of its pictures."""
    return [one for one in batch.subjects[batch.right[row]] if not IS_KIND[one]]


recipes = st.builds(
    Recipe,
    seed=seeds,
    batch=st.integers(1, 9),
    kinds=st.sampled_from([0.0, 0.3, 1.0]),
    wrong=st.sampled_from([0.0, 0.5, 1.0]),
    told=st.sampled_from([None, 0, 1, 2]),
)
