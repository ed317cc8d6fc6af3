"""Names that no caption held: ranks, shares and p-values against plain computations."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from conftest import unit
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import photos  # noqa: F401 - a fixture

from fdbpl import api
from fdbpl.clip.model import ClipModel
from fdbpl.data.dataset import GENERIC_TEMPLATE
from fdbpl.system.errors import UserError
from studies.photographs.accuracies import Seen
from studies.photographs.captions import (
    Subject,
    class_subjects,
    imagenet_subjects,
    kind_subjects,
)
from studies.photographs.parts import DATASETS, class_names
from studies.photographs.unheard import (
    DRAWS,
    Unheard,
    means,
    p_value,
    places,
    ranks,
    require_unheard,
    same,
    share,
    summary,
    texts_of,
    unheard,
    words,
)

seeds = st.integers(0, 999)


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return api.load("fdbpl-tiny-student", "tiny")


@given(seeds, st.integers(1, 4), st.integers(1, 12))
def test_a_rank_counts_the_classes_that_are_nearer(seed: int, texts: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = unit(rng, texts, 4), unit(rng, classes, 4)
    found = ranks(a, b)
    for row in range(texts):
        for column in range(classes):
            nearer = sum(float(a[row] @ other) > float(a[row] @ b[column]) for other in b)
            assert found[row, column] == 1 + nearer


@given(seeds, st.integers(1, 20), st.integers(1, 30))
def test_of_classes_in_any_order_the_share_is_chance(seed: int, nearest: int, classes: int) -> None:
    every = np.arange(1, classes + 1)  # each rank as often
    found = share(np.random.default_rng(seed).permutation(every), nearest, classes)
    assert found.share == found.chance == min(nearest / classes, 1)
    assert found.low <= found.share <= found.high


@settings(max_examples=10)
@given(seeds)
def test_the_p_value_is_that_of_all_orders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = np.stack([rng.permutation(8) + 1 for _ in range(5)])
    likes, groups = np.array([0, 3, 3, 5, 6]), np.array([0, 0, 1, 1, 1])
    rows = np.arange(5)
    own = found[rows, likes].sum()
    for of in (np.zeros(5, int), groups):
        orders = [list(o) for o in permutations(range(5)) if (of[list(o)] == of).all()]
        wanted = np.mean([found[rows, likes[order]].sum() <= own for order in orders])
        assert p_value(found, likes, of, draws=1500) == pytest.approx(wanted, abs=0.06)


def test_a_class_that_is_near_to_all_texts_is_no_finding() -> None:
    found = np.tile(np.arange(1, 9), (6, 1))
    assert p_value(found, np.zeros(6, int), np.zeros(6, int), draws=99) == 1.0


def test_what_is_always_right_is_better_than_chance_and_what_knows_the_dataset_is_not_more() -> (
    None
):
    likes, groups = np.arange(12), np.repeat([0, 1], 6)
    right = (np.arange(12) - likes[:, None]) % 12 + 1
    found = summary(right, likes, groups)
    assert found["median"] == 1
    assert [one["share"] for one in found["shares"]] == [1, 1, 1]
    assert found["p"] == 1 / (1 + DRAWS)
    dataset = np.where(groups[:, None] == groups, 3, 9)
    assert summary(dataset, likes, groups)["p"] < 0.05
    assert summary(dataset, likes, groups)["p_within"] == 1


def test_classes_that_are_called_the_same_have_one_mean() -> None:
    rng = np.random.default_rng(0)
    parts = [
        Seen(unit(rng, 4, 3), [], np.array([0, 0, 1, 1]), ("forest", "sea"), GENERIC_TEMPLATE),
        Seen(unit(rng, 3, 3), [], np.array([1, 1, 1]), ("empty", "Forests"), GENERIC_TEMPLATE),
    ]
    found = means(parts)
    assert found.names == ["forest", "sea"]
    rows = np.concatenate([parts[0].features[:2], parts[1].features])
    wanted = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    np.testing.assert_allclose(found.vectors[0], wanted, rtol=1e-5)
    assert places([Unheard("woods", "scenes15", "forests")], found).tolist() == [0]
    with pytest.raises(UserError, match="'void' is said to be like 'empty', which is no class"):
        places([Unheard("void", "scenes15", "empty")], found)


def test_each_name_is_said_in_the_template_of_its_like(clip: ClipModel) -> None:
    names = [Unheard("lorry", "cars", "truck"), Unheard("spud", "food", "potato")]
    found = texts_of(clip, names, {"cars": "a {} on wheels.", "food": "{}, a dish."})
    wanted = [
        api.template_vectors(clip, ["lorry"], "a {} on wheels.")[0],
        api.template_vectors(clip, ["spud"], "{}, a dish.")[0],
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "held"),
    [("Potato", "potato"), ("garden pea", "sweet-pea"), ("photo", "a photo of a {}.")],
)
def test_a_name_that_a_caption_holds_is_refused(name: str, held: str) -> None:
    subjects = [Subject("sweet-pea", "oxford_flowers"), Subject("potato", None)]
    require_unheard(["spud", "pealike", "potatoes"], subjects)
    with pytest.raises(UserError, match="captions hold") as raised:
        require_unheard(["spud", name], subjects)
    assert repr(name) in str(raised.value)
    assert name == "photo" or repr(held) in str(raised.value)


def test_the_fifty_names_are_different_and_no_form_of_their_likes() -> None:
    names = unheard()
    assert len(names) == len({one.name for one in names}) == 50
    assert {one.dataset for one in names} <= {*DATASETS}
    for one in names:
        assert not set(map(same, words(one.name))) & set(map(same, words(one.like)))


def test_no_caption_held_any_of_the_fifty_and_every_like_is_a_class(photos: Path) -> None:  # noqa: F811
    subjects = [*class_subjects(photos), *kind_subjects(), *imagenet_subjects()]
    require_unheard((one.name for one in unheard()), subjects)
    for one in unheard():
        assert one.like in class_names(photos, one.dataset).values()
