"""Held out by turns: no training sees a picture that it judges."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_image
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fdbpl.data.dataset import UNKNOWN, Dataset, Item
from fdbpl.learning import folds as folds_module
from fdbpl.learning.folds import OWN_TEST, UNJUDGED, Folds, folds_of
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan

COUNT = 5
KEYS = [7 + place for place in range(COUNT + 1)]
counts = st.lists(st.integers(1, 13), min_size=2, max_size=5)


def dataset(per_class: list[int], tests: int = 0, folder: Path = Path("x")) -> Dataset:
    """Classes of so many pictures each; of `tests` more each for the test split."""
    names = tuple(f"class {label}" for label in range(len(per_class)))
    train, test = (
        tuple(
            Item(f"{part}/{label}-{number}.png", label)
            for label, count in enumerate(per_class)
            for number in range(tests if part == "test" else count)
        )
        for part in ("train", "test")
    )
    return Dataset("pictures", folder, names, "a {}.", train, (), test, held_out=not tests)


def judged(folds: Folds) -> list[Item]:
    return [item for item in folds.dataset.test if item.path in folds.of_picture]


@given(per_class=counts, seed=st.integers(0, 99))
def test_each_picture_is_in_one_fold_and_each_class_is_dealt_evenly(per_class, seed: int) -> None:
    found = folds_of(dataset(per_class), seed, COUNT, own_test=False)
    assert set(found.of_picture) == {item.path for item in found.dataset.train}
    for label, count in enumerate(per_class):
        dealt = Counter(
            found.of_picture[item.path] for item in found.dataset.train if item.label == label
        )
        assert sum(dealt.values()) == count
        assert set(dealt) == set(range(min(count, COUNT)))
        assert max(dealt.values()) - min(dealt.values()) <= 1


@given(per_class=counts, seed=st.integers(0, 99))
def test_each_picture_is_judged_once_but_the_only_one_of_its_class(per_class, seed: int) -> None:
    found = folds_of(dataset(per_class), seed, COUNT, own_test=False)
    paths = Counter(item.path for item in found.dataset.test)
    assert set(paths.values()) <= {1}
    assert set(paths) == {item.path for item in found.dataset.train if per_class[item.label] > 1}
    assert found.dataset.val == ()


@given(per_class=counts, tests=st.integers(1, 3))
def test_a_test_split_of_the_users_own_is_judged_and_never_learned(per_class, tests: int) -> None:
    given_data = dataset(per_class, tests)
    found = folds_of(given_data, 1, COUNT, own_test=True)
    assert set(found.dataset.train) == set(given_data.train)
    assert {i.path for i in found.dataset.test} - set(found.of_picture) == {
        item.path for item in given_data.test
    }
    again = folds_of(dataset(per_class), 1, COUNT, own_test=False)
    assert judged(found) == judged(again)


def test_without_splits_of_the_users_own_all_parts_are_learned_from() -> None:
    whole = dataset([5, 5])
    parts = Dataset("pictures", whole.folder, whole.class_names, "a {}.", whole.train[:4],
                    whole.train[4:6], whole.train[6:], held_out=True)  # fmt: skip
    found = folds_of(parts, 1, COUNT, own_test=False)
    assert dict(found.of_picture) == dict(folds_of(whole, 1, COUNT, own_test=False).of_picture)


@given(per_class=counts, label=st.integers(0, 1), seed=st.integers(0, 9))
def test_a_new_picture_moves_only_those_after_it_in_its_class_and_by_one(per_class, label, seed):
    before = folds_of(dataset(per_class), seed, COUNT, own_test=False).of_picture
    more = [*per_class]
    more[label] += 1
    after = folds_of(dataset(more), seed, COUNT, own_test=False).of_picture
    for item in dataset(per_class).train:
        moved = (after[item.path] - before[item.path]) % COUNT
        assert moved == 0 or (moved == 1 and item.label == label)


@given(per_class=counts, seed=st.integers(0, 9))
def test_a_new_class_moves_nothing(per_class: list[int], seed: int) -> None:
    before = folds_of(dataset(per_class), seed, COUNT, own_test=False).of_picture
    after = folds_of(dataset([*per_class, 4]), seed, COUNT, own_test=False).of_picture
    assert before.items() <= after.items()


def test_of_very_many_pictures_some_of_each_class_are_judged(monkeypatch) -> None:
    monkeypatch.setattr(folds_module, "MOST", 20)
    found = folds_of(dataset([100, 3, 100, 1]), 1, COUNT, own_test=False)
    dealt = Counter(item.label for item in found.dataset.test)
    assert dealt == {0: 9, 1: 3, 2: 8}
    assert len(found.of_picture) == 204


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of up to 13 of five classes, and tests."""
    place = tmp_path_factory.mktemp("folds")
    found = dataset([13] * 5, 3, place)
    for number, item in enumerate((*found.train, *found.test)):
        draw_image(place / item.path, number, (4, 4))
    return place


def planned(found: Folds, shots: object) -> Plan:
    plan = make_plan(
        found.dataset,
        regions=RegionParams(per_image=1),
        shots=shots,
        seeds=KEYS[:1],
        protocols=[ALL_CLASSES],
    )
    return found.plan(plan, KEYS, {})


@settings(max_examples=25)
@given(
    per_class=counts,
    tests=st.sampled_from([0, 2]),
    shots=st.sampled_from(["all", 1, 2, 3, 6]),
    unknown=st.booleans(),
)
def test_no_training_sees_a_picture_that_it_judges(folder, per_class, tests, shots, unknown):
    assume(tests or max(per_class) > 1)
    data = dataset(per_class, tests, folder)
    if unknown:  # pictures whose classes nobody told are dealt as one class
        train = tuple(Item(item.path, UNKNOWN) for item in data.train)
        data = Dataset("pictures", folder, data.class_names, "a {}.", train, (), data.test,
                       held_out=not tests)  # fmt: skip
    found = folds_of(data, KEYS[0], COUNT, own_test=bool(tests))
    plan = planned(found, shots)
    whole, *others = ({plan.paths[row] for row in plan.shots[key]} for key in KEYS)
    folds = found.of_tests(plan)
    assert len(folds) == len(plan.test)
    for row, fold in zip(plan.test, folds, strict=True):
        path = plan.paths[row]
        if path.startswith("test/"):
            assert fold == OWN_TEST
            assert path not in set().union(whole, *others)
        elif fold == UNJUDGED:
            assert path in whole & others[found.of_picture[path]]
        else:
            assert fold == found.of_picture[path]
            assert path not in others[fold]
    labels = dict(zip(plan.paths, plan.images["label"].tolist(), strict=True))
    learned = {labels[path] for path in whole}
    for seen in others:
        assert seen <= whole
        assert {labels[path] for path in seen} == learned  # each knows every class
    for key in KEYS:
        assert len(plan.ranks[key]) == len(plan.shots[key])
        assert list(plan.shots[key]) == sorted(plan.shots[key])


@pytest.mark.parametrize(("shots", "unjudged"), [("all", 0), (2, 0), (1, 3)])
def test_pictures_are_not_judged_only_where_a_class_would_go_unlearned(
    folder: Path, shots: object, unjudged: int
) -> None:
    found = folds_of(dataset([4, 6, 2], 0, folder), KEYS[0], COUNT, own_test=False)
    assert int(np.sum(found.of_tests(planned(found, shots)) == UNJUDGED)) == unjudged
