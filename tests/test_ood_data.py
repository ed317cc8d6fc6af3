"""Empty regions are empty by the drawing itself, and nothing but the place tells them apart."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fdbpl.data.splits import halve
from fdbpl.playground import datasets as playground
from fdbpl.regions.boxes import REGION
from fdbpl.regions.plan import IMAGE, TEST, Plan
from fdbpl.stages import ood_data

WITH_EMPTY_GROUND = [
    "objects", "animals", "vehicles", "flowers", "dishes", "aircraft", "figures",
    *playground.SHIFTED,
]  # fmt: skip


@cache
def drawn_plan(name: str, images: int = 24) -> Plan:
    """A plan of a drawn dataset's first test images, with nothing to learn from."""
    names = tuple(c.name for c in playground.definition(name).sorted_classes)
    records = np.zeros(images, IMAGE)
    records["label"], records["split"] = np.arange(images) % len(names), TEST
    records["hash"][:, 0] = np.arange(images)
    return Plan(
        name=name,
        class_names=names,
        template="{}",
        labels=tuple(range(len(names))),
        paths=tuple(f"test/{index:04}.png" for index in range(images)),
        images=records,
        shots={1: ()},
        ranks={1: ()},
        regions=np.zeros(0, REGION),
        policy={"per_image": 1},
        notes={},
    )


def test_which_datasets_have_empty_ground() -> None:
    every = playground.DATASETS + playground.SHIFTED
    assert [name for name in every if playground.has_empty_ground(name)] == WITH_EMPTY_GROUND


@pytest.mark.parametrize("name", ["vehicles", "dishes", "figures", "objects-sketch"])
def test_pairs_are_empty_and_showing_and_of_one_size_in_one_image(name: str) -> None:
    plan = drawn_plan(name)
    showing, empty = ood_data.region_pairs(plan)
    assert len(showing) == len(empty) >= 0.8 * len(ood_data.images_of(plan, halve(plan.labels)[0]))
    assert np.array_equal(showing["image"], empty["image"])
    sizes = [regions["box"][:, 2:] - regions["box"][:, :2] for regions in (showing, empty)]
    assert np.array_equal(*sizes)
    assert sizes[0].min() > 0
    assert set(plan.images["label"][showing["image"]]) <= set(halve(plan.labels)[0])
    for shows, holds_none in zip(showing, empty, strict=True):
        split, index = playground.image_of(plan.paths[shows["image"]])
        main, things = playground.shown(name, split, index)
        left, top, right, bottom = holds_none["box"]
        assert 0 <= left < right <= playground.SIZE
        assert 0 <= top < bottom <= playground.SIZE
        margin = ood_data.MARGIN
        around = things[
            max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin
        ]
        assert not around.any()
        left, top, right, bottom = shows["box"]
        assert main[top:bottom, left:right].sum() >= ood_data.SHOWN * main.sum()


def test_an_image_has_its_places_alone_and_every_time() -> None:
    whole = ood_data.region_pairs(drawn_plan("vehicles", 24))
    fewer = ood_data.region_pairs(drawn_plan("vehicles", 6))
    for all_rows, some in zip(whole, fewer, strict=True):
        assert all_rows[: len(some)].tobytes() == some.tobytes()
    first = ood_data.places("vehicles", "test/0003.png", 1)
    assert np.array_equal(ood_data.places("vehicles", "test/0003.png", 2)[:1], first)
    assert not np.array_equal(ood_data.places("vehicles", "test/0004.png", 1), first)


def test_far_images_are_equally_many_of_each_dataset_and_of_no_base_class() -> None:
    plan = drawn_plan("vehicles", 40)
    animals, icons = drawn_plan("animals", 40), drawn_plan("icons", 40)
    renamed = replace(animals, class_names=(*animals.class_names[:5], *plan.class_names[:15]))
    found = ood_data.far_images(plan, {"animals": renamed, "icons": icons})
    wanted = len(ood_data.images_of(plan, halve(plan.labels)[0])) // 2
    assert len(found["icons"]) == wanted
    called = {renamed.class_names[label] for label in renamed.images["label"][found["animals"]]}
    base = {plan.class_names[label] for label in halve(plan.labels)[0]}
    assert called
    assert not called & base
    assert len(set(found["icons"].tolist())) == wanted
    again = ood_data.far_images(plan, {"icons": icons, "animals": renamed})
    assert all(np.array_equal(again[name], rows) for name, rows in found.items())
