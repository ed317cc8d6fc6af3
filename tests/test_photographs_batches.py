"""Batches: who is told what, and what they say of every caption."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from told import CLASSES, DATASET, IS_KIND, LABELS, SUBJECTS, batches, named, recipes, seeds, wholes

from studies.photographs.batches import Recipe, Sampler
from studies.photographs.captions import Subject


@given(recipes, wholes)
def test_a_batch_says_of_every_caption_whether_it_is_true(recipe: Recipe, seed: int) -> None:
    for batch in batches(recipe, seed):
        assert len(batch.rows) == recipe.batch
        assert list(batch.subjects) == sorted(set(batch.subjects))
        for row, label in enumerate(LABELS[batch.rows]):
            same = DATASET[batch.subjects] == DATASET[label]
            kinds = IS_KIND[batch.subjects]
            assert batch.right[row].any()
            assert batch.right[row][same & kinds].all()
            assert not batch.right[row][~same].any()
            told_by_name = named(batch, row)
            assert len(told_by_name) <= 1
            # another class of the same dataset is false where one is named, else nobody knows
            others = same & ~kinds
            assert (batch.unknown[row] == (others & (not told_by_name))).all()
            assert (batch.own[row] == (others & bool(told_by_name))).all()
        assert batch.right.any(0).all()  # every caption was drawn for a picture


@given(seeds, wholes)
def test_told_truly_a_caption_names_the_class_of_its_picture(seed: int, draws: int) -> None:
    for batch in batches(Recipe(seed, batch=9, kinds=0.3), draws):
        for row, label in enumerate(LABELS[batch.rows]):
            assert named(batch, row) in ([label], [])
    for batch in batches(Recipe(seed, batch=9, kinds=0), draws):
        assert not batch.unknown.any()
        assert [named(batch, row)[0] for row in range(9)] == list(LABELS[batch.rows])


@given(seeds, wholes)
def test_a_wrong_caption_names_another_class_of_the_dataset_and_always_the_same(
    seed: int, draws: int
) -> None:
    said = dict[int, int]()
    for batch in batches(Recipe(seed, batch=9, kinds=0, wrong=1.0), draws, 6):
        for row, picture in enumerate(batch.rows.tolist()):
            (name,) = named(batch, row)
            assert name == said.setdefault(picture, name)
            assert name != LABELS[picture] or DATASET[name] == "cifar10"  # which has one class
            assert DATASET[name] == DATASET[LABELS[picture]]


TWINS = [Subject(one.name, one.dataset, with_kind=True) for one in CLASSES]


@given(seeds, wholes, st.sampled_from([0.0, 0.5, 1.0]))
def test_with_its_kind_a_name_is_true_and_says_nothing_of_the_bare_one(
    seed: int, draws: int, share_of_both: float
) -> None:
    recipe = Recipe(seed, batch=9, kinds=0.3, wrong=1.0, with_kind=share_of_both)
    everybody = [*SUBJECTS, *TWINS]
    sampler, rng = Sampler(LABELS, everybody, recipe), np.random.default_rng(draws)
    for batch in [sampler.draw(rng) for _ in range(4)]:
        for row, label in enumerate(LABELS[batch.rows]):
            (said, *more) = [
                one for one in batch.subjects[batch.right[row]] if not everybody[one].is_kind
            ] or [None]
            assert not more
            if said is None:
                continue
            if everybody[said].with_kind:
                assert share_of_both
                assert everybody[said].name == CLASSES[label].name
            else:
                assert share_of_both < 1
            otherwise = [one for one in batch.subjects[batch.unknown[row]].tolist() if one != said]
            assert {everybody[one].name for one in otherwise} <= {everybody[said].name}
    if not share_of_both:
        assert all(not everybody[one].with_kind for one in batch.subjects)


@given(seeds, wholes, st.integers(0, 3))
def test_no_more_than_told_of_a_class_are_ever_named(seed: int, draws: int, told: int) -> None:
    pictures = dict[int, set[int]]()
    for batch in batches(Recipe(seed, batch=9, kinds=0, told=told), draws, 12):
        for row, picture in enumerate(batch.rows.tolist()):
            for name in named(batch, row):
                pictures.setdefault(name, set()).add(picture)
    assert all(len(found) <= told for found in pictures.values())
    assert told or not pictures


def test_small_classes_and_datasets_are_drawn_more_often_than_by_their_size() -> None:
    (batch,) = batches(Recipe(1, batch=20_000), 0, 1)
    often = np.bincount(LABELS[batch.rows], minlength=len(CLASSES)) / 20_000
    classes = np.bincount(LABELS)
    sets = {name: (DATASET[LABELS] == name).sum() for name in DATASET}
    wanted = np.array(
        [size**0.5 / sets[DATASET[label]] ** 0.5 for label, size in enumerate(classes)]
    )
    np.testing.assert_allclose(often, wanted / wanted.sum(), atol=0.02)
