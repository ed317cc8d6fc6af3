from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder, draw_image
from PIL import Image

from fdbpl.data.dataset import UNKNOWN, Dataset, Item
from fdbpl.data.images import decode, read_image
from fdbpl.data.readers.folder import read_folder
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.protocols.base_to_new import BASE_TO_NEW, halves
from fdbpl.protocols.protocol import Protocol
from fdbpl.protocols.transfer import TRANSFER
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import TEST, TRAIN, Plan
from fdbpl.regions.planning import Shots, make_plan
from fdbpl.system.errors import UserError

CLASSES = {"ant": (5, 2), "bee": (4, 2), "cat": (3, 1), "dog": (2, 3)}
DAMAGED = b"\x89PNG\r\n\x1a\n and no more"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "pets", CLASSES)


def plan_of(folder: Path, shots=2, seeds=(1, 2), crops: int = 3, **options) -> Plan:
    dataset = read_folder("pets", folder, "a photo of a {}.")
    return make_plan(
        dataset,
        regions=RegionParams(per_image=crops),
        shots=shots,
        seeds=list(seeds),
        **options,
    )


def boxes(plan: Plan) -> Mapping[tuple[str, int], tuple]:
    return {
        (plan.paths[region["image"]], int(region["crop"])): (*region["box"], region["flip"])
        for region in plan.regions
    }


def test_shots_come_from_the_base_classes_and_tests_from_all(folder: Path) -> None:
    plan = plan_of(folder)
    assert plan.labels == (0, 1, 2, 3)
    for rows in plan.shots.values():
        assert plan.images["label"][list(rows)].tolist() == [0, 0, 1, 1]
        assert list(rows) == sorted(rows)
    assert sorted(plan.images["label"][plan.test].tolist()) == [0, 0, 1, 1, 2, 3, 3, 3]
    assert (np.diff(plan.images["split"].astype(int)) >= 0).all()
    assert set(plan.images["split"].tolist()) == {TRAIN, TEST}
    chosen = {row for rows in plan.shots.values() for row in rows}
    assert chosen == set(np.flatnonzero(plan.images["split"] == TRAIN).tolist())


def test_the_records_describe_the_images(folder: Path) -> None:
    draw_image(folder / "test" / "ant" / "wide.png", 3, (40, 10))
    plan = plan_of(folder)
    for path, record in zip(plan.paths, plan.images, strict=True):
        image = decode(folder / path)
        assert record["hash"].tobytes() == read_image(folder / path)[0]
        assert (record["width"], record["height"]) == image.size
        assert path.split("/")[1] == plan.class_names[record["label"]]
        assert path.startswith(("train", "test")[record["split"]])


def test_regions_stand_in_the_order_of_images_and_crops(folder: Path) -> None:
    plan = plan_of(folder)
    images = len(plan.images) - len(plan.test)
    assert plan.crops == 3
    assert plan.regions["image"].tolist() == [row for row in range(images) for _ in range(3)]
    assert plan.regions["crop"].tolist() == [0, 1, 2] * images


def test_a_region_never_moves_when_anything_is_added(folder: Path) -> None:
    before = boxes(plan_of(folder, shots=2, seeds=[1], crops=3))
    more_shots = boxes(plan_of(folder, shots=4, seeds=[1], crops=3))
    more_seeds = boxes(plan_of(folder, shots=2, seeds=[5, 1, 7], crops=3))
    more_crops = boxes(plan_of(folder, shots=2, seeds=[1], crops=8))
    draw_folder(folder, {"aardvark": (3, 1), "zebra": (3, 1)})
    more_classes = boxes(plan_of(folder, shots=2, seeds=[1], crops=3))
    for seed, name in enumerate(["00-first.png", "99-last.png"]):
        draw_image(folder / "train" / "ant" / name, seed)
    more_images = boxes(plan_of(folder, shots="all", seeds=[1], crops=3))
    assert len(before) == 12
    for more in (more_shots, more_seeds, more_crops, more_classes, more_images):
        assert len(more) > len(before)
        assert before.items() <= more.items()


def test_a_regions_seed_moves_all(folder: Path) -> None:
    dataset = read_folder("pets", folder, "{}")
    first, second = (
        make_plan(dataset, regions=RegionParams(seed=seed), shots=2, seeds=[1]).regions
        for seed in (0, 1)
    )
    assert (first["box"] != second["box"]).any(axis=1).mean() > 0.9


def test_fewer_shots_are_a_part_of_more(folder: Path) -> None:
    few, many = plan_of(folder, shots=1, seeds=[3]), plan_of(folder, shots=3, seeds=[3])
    chosen = [{plan.paths[row] for row in plan.shots[3]} for plan in (few, many)]
    assert chosen[0] < chosen[1]


def test_all_images_may_be_learned_from(folder: Path) -> None:
    plan = plan_of(folder, shots="all", seeds=[1, 2])
    assert plan.shots[1] == plan.shots[2] == tuple(range(9))
    assert not any(plan.notes.values())


@pytest.mark.parametrize("protocols", [[BASE_TO_NEW], [ALL_CLASSES, BASE_TO_NEW], []])
def test_the_order_of_the_file_lists_does_not_matter(
    folder: Path, protocols: list[Protocol]
) -> None:
    dataset = read_folder("pets", folder, "{}")
    backwards = Dataset(
        **{**vars(dataset), "train": dataset.train[::-1], "test": dataset.test[::-1]}
    )
    options: dict[str, Any] = {"regions": RegionParams(), "shots": 2, "seeds": [1]}
    plans = [make_plan(d, **options, protocols=protocols) for d in (dataset, backwards)]
    assert plans[0].digest == plans[1].digest


def test_all_classes_may_be_learned_from(folder: Path) -> None:
    half, plan = plan_of(folder), plan_of(folder, protocols=[BASE_TO_NEW, TRANSFER])
    for seed, rows in plan.shots.items():
        assert plan.images["label"][list(rows)].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        base = {half.paths[row] for row in half.shots[seed]}
        assert base == {plan.paths[row] for row in plan.picks((0, 1), 2)[seed]}
    assert boxes(half).items() < boxes(plan).items()  # so what base-to-new encoded is reused
    assert [plan.paths[row] for row in plan.test] == [half.paths[row] for row in half.test]


def paths_of(plan: Plan, labels: tuple[int, ...], shots: Shots) -> dict[int, set[str]]:
    picks = plan.picks(labels, shots)
    return {seed: {plan.paths[row] for row in rows} for seed, rows in picks.items()}


@pytest.mark.parametrize("most", [3, "all"])
def test_fewer_shots_are_the_first_of_each_class_and_no_protocol_moves_anothers(
    folder: Path, most: Shots
) -> None:
    plan = plan_of(folder, shots=most, protocols=[BASE_TO_NEW, ALL_CLASSES])
    base, every = halves(plan.labels, ()).learned, plan.labels
    for shots in (1, 2, 3):
        for labels, protocol in ((base, BASE_TO_NEW), (every, ALL_CLASSES)):
            alone = plan_of(folder, shots=shots, protocols=[protocol])
            assert paths_of(plan, labels, shots) == paths_of(alone, labels, "all")
    for seed, rows in plan.picks(every, 2).items():
        assert list(rows) == sorted(rows)
        assert set(rows) < set(plan.picks(every, "all")[seed])


def test_a_plan_of_tests_alone_depends_on_nothing_else(folder: Path) -> None:
    plan = plan_of(folder, protocols=[])
    assert (plan.labels, plan.shots, len(plan.regions)) == ((), {}, 0)
    assert [path.split("/")[0] for path in plan.paths] == ["test"] * 8
    assert not any(plan.notes.values())
    other = plan_of(folder, shots="all", seeds=[7], crops=9, protocols=[])
    assert other.digest == plan.digest
    draw_image(folder / "train" / "ant" / "more.png", 1)
    assert plan_of(folder, protocols=[]).digest == plan.digest
    plan.save(folder / "plan")
    assert Plan.load(folder / "plan").digest == plan.digest


def test_a_dataset_without_training_images_can_be_tested_on(folder: Path) -> None:
    dataset = Dataset(**{**vars(read_folder("pets", folder, "{}")), "train": ()})
    options: dict[str, Any] = {"regions": RegionParams(), "shots": 2, "seeds": [1]}
    assert len(make_plan(dataset, **options, protocols=[]).test) == 8
    with pytest.raises(UserError, match="0 classes with training images"):
        make_plan(dataset, **options, protocols=[ALL_CLASSES])
    nothing = Dataset(**{**vars(dataset), "test": ()})
    with pytest.raises(UserError, match=r"'pets': no test image in .*, wanted at least 1"):
        make_plan(nothing, **options, protocols=[])


def test_what_base_to_new_is_keyed_by_stays(tmp_path: Path) -> None:
    """Caches that people have are keyed by these digests."""
    folder = draw_folder(tmp_path / "pets", {"ant": (0, 0), "bee": (0, 0)})
    for part in ("train", "test"):
        for name, colour in (("ant", "red"), ("bee", "blue")):
            Image.new("RGB", (24, 18), colour).save(folder / part / name / "0.bmp")
    plan = plan_of(folder, shots=1, seeds=[1])
    assert plan.digest == "c7dde70aee471002461e7279f36f43b162edfad3b5fe55b2a5c10d84ad7be91e"


def test_an_unreadable_training_image_is_replaced_and_named(folder: Path) -> None:
    taken = plan_of(folder, shots=2, seeds=[1])
    spoilt = taken.paths[taken.shots[1][0]]
    (folder / spoilt).write_bytes(DAMAGED)
    plan = plan_of(folder, shots=2, seeds=[1])
    assert spoilt not in plan.paths
    assert plan.images["label"][list(plan.shots[1])].tolist() == [0, 0, 1, 1]
    kept = {taken.paths[row] for row in taken.shots[1]} - {spoilt}
    assert kept < {plan.paths[row] for row in plan.shots[1]}
    (note,) = plan.notes["unreadable training images"]
    assert note.startswith(f"{spoilt}: ")
    assert str(folder) not in note


def test_an_unreadable_test_image_is_an_error_with_count_and_name(folder: Path) -> None:
    for name in ("ant/00.png", "bee/01.png"):
        (folder / "test" / name).write_bytes(DAMAGED)
    with pytest.raises(UserError) as error:
        plan_of(folder)
    assert "2 test images of 'pets'" in str(error.value)
    assert str(folder) in str(error.value)
    assert "the first: test/ant/00.png: cannot be decoded" in str(error.value)
    assert "data.allow_unreadable_test_images" in str(error.value)
    plan = plan_of(folder, allow_unreadable_test_images=True)
    assert len(plan.test) == 6
    assert [note.split(":")[0] for note in plan.notes["unreadable test images"]] == [
        "test/ant/00.png",
        "test/bee/01.png",
    ]


def test_an_image_unreadable_in_both_splits_counts_in_both(folder: Path) -> None:
    (folder / "train" / "ant" / "00.png").write_bytes(DAMAGED)
    dataset = read_folder("pets", folder, "{}")
    both = Dataset(**{**vars(dataset), "test": (*dataset.test, Item("train/ant/00.png", 0))})
    with pytest.raises(UserError, match=r"1 test images.*train/ant/00\.png"):
        make_plan(both, regions=RegionParams(), shots="all", seeds=[1])


def test_a_class_with_fewer_images_than_shots_is_used_and_named(folder: Path) -> None:
    plan = plan_of(folder, shots=5, seeds=[1, 2])
    assert plan.notes["classes short of images"] == ["bee: 4 of 5 shots"]
    for rows in plan.shots.values():
        assert plan.images["label"][list(rows)].tolist() == [0] * 5 + [1] * 4


def test_a_class_without_training_images_is_named(folder: Path) -> None:
    for path in (folder / "train" / "bee").iterdir():
        path.unlink()
    plan = plan_of(folder)
    assert plan.labels == (0, 2, 3)
    assert plan.notes["classes without training images, which nothing is learned of"] == ["bee"]


def test_too_little_to_plan_from(folder: Path) -> None:
    dataset = read_folder("pets", folder, "{}")

    def plan(**changes: object) -> Plan:
        changed = Dataset(**{**vars(dataset), **changes})
        return make_plan(changed, regions=RegionParams(), shots=2, seeds=[1])

    with pytest.raises(UserError, match="0 classes with training images"):
        plan(train=())
    with pytest.raises(UserError, match=r"1 classes with training images in .* at least 2"):
        plan(train=tuple(item for item in dataset.train if item.label == 1))
    with pytest.raises(UserError, match="no test image of the 2 base classes"):
        plan(test=())
    with pytest.raises(UserError, match="no test image of the 2 new classes"):
        plan(test=tuple(item for item in dataset.test if item.label < 2))
    for item in dataset.train:
        (folder / item.path).write_bytes(DAMAGED)
    with pytest.raises(UserError, match=r"no training image of 4 classes.*ant/00\.png"):
        plan()


@pytest.fixture
def bare(tmp_path: Path) -> Dataset:
    """Twenty images whose classes nobody told, of three names."""
    paths = [f"{index:02}.png" for index in range(20)]
    for index, path in enumerate(paths):
        draw_image(tmp_path / "bare" / path, index)
    train = tuple(Item(path, UNKNOWN) for path in paths)
    return Dataset("bare", tmp_path / "bare", ("ant", "bee", "cat"), "{}.", train, (), ())


def bare_plan(dataset: Dataset, shots: Shots = 2, **options: Any) -> Plan:
    usual = {"regions": RegionParams(per_image=2), "seeds": [1, 2], "protocols": [ALL_CLASSES]}
    return make_plan(dataset, shots=shots, **{**usual, **options})


def test_without_labels_all_classes_are_learned_and_some_images_held_out(bare: Dataset) -> None:
    plan = bare_plan(bare)
    assert plan.labels == (0, 1, 2)
    assert not plan.is_labelled
    assert not plan.teaches_labels
    assert not plan.tests_labels
    assert len(plan.test) == 4
    assert set(plan.images["label"].tolist()) == {UNKNOWN}
    assert [len(rows) for rows in plan.shots.values()] == [6, 6]  # shots for each name
    assert [len(rows) for rows in plan.picks(plan.labels, 1).values()] == [3, 3]
    held_out = {plan.paths[row] for row in plan.test}
    everything = bare_plan(bare, "all")
    assert {everything.paths[row] for row in everything.test} == held_out
    assert [len(rows) for rows in everything.shots.values()] == [16, 16]
    assert not any(plan.notes.values())


def test_labels_are_read_of_all_training_images_or_of_none(bare: Dataset) -> None:
    some = tuple(Item(item.path, row % 3 - 1) for row, item in enumerate(bare.train))
    assert bare_plan(replace(bare, train=some)).digest == bare_plan(bare).digest


def test_labelled_test_images_are_the_test_and_nothing_is_held_out(bare: Dataset) -> None:
    told = replace(bare, train=bare.train[4:], test=(Item("00.png", 2), Item("01.png", 0)))
    plan = bare_plan(told, "all")
    assert plan.tests_labels
    assert sorted(plan.images["label"][plan.test].tolist()) == [0, 2]
    assert [len(rows) for rows in plan.shots.values()] == [16, 16]


def test_an_unreadable_image_without_class_is_left_out(bare: Dataset) -> None:
    for item in bare.train[:3]:
        (bare.folder / item.path).write_bytes(DAMAGED)
    plan = bare_plan(bare, "all")
    assert len(plan.images) == 17
    broken = plan.notes["unreadable training images"] + plan.notes["unreadable test images"]
    assert sorted(note.split(":")[0] for note in broken) == ["00.png", "01.png", "02.png"]


def test_one_image_is_enough_to_learn_from(bare: Dataset) -> None:
    plan = bare_plan(replace(bare, train=bare.train[:1]))
    assert len(plan.test) == 0
    assert not plan.tests_labels


@pytest.mark.parametrize(
    "protocols", [[TRANSFER], [ALL_CLASSES, TRANSFER], [BASE_TO_NEW], [BASE_TO_NEW, TRANSFER]]
)
def test_images_without_class_have_no_halves_and_are_no_source(
    bare: Dataset, protocols: list[Protocol]
) -> None:
    with pytest.raises(UserError, match=r"without a class.*List all-classes under protocols"):
        bare_plan(bare, protocols=protocols)
    assert bare_plan(bare, protocols=[BASE_TO_NEW, ALL_CLASSES]).digest == bare_plan(bare).digest


def test_a_vocabulary_is_learned_from_in_place_of_names(folder: Path, tmp_path: Path) -> None:
    plain, plan = plan_of(folder), plan_of(folder, vocabulary=("red", "blue", "sea"))
    assert not plan.teaches_labels
    assert (plan.labels, plan.shots) == (plain.labels, plain.shots)
    assert plain.teaches_labels
    assert plan.digest != plain.digest
    plan.save(tmp_path / "plan")
    assert Plan.load(tmp_path / "plan").vocabulary == plan.vocabulary


def without_contents(plan: Plan) -> dict[str, Any]:
    told = plan.images[["label", "split"]].tolist()
    return {**vars(plan), "images": told, "regions": 0, "policy": 0}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shots": "all"},
        {"protocols": [ALL_CLASSES, BASE_TO_NEW]},
        {"protocols": []},
        {"vocabulary": ("red", "sea")},
    ],
)
def test_without_a_look_all_is_planned_but_contents(folder: Path, options: dict[str, Any]) -> None:
    plan = plan_of(folder, **options)
    for path in folder.rglob("*.png"):
        path.write_bytes(DAMAGED)
    assert without_contents(plan_of(folder, look=False, **options)) == without_contents(plan)


def test_without_a_look_images_without_labels_are_planned_too(bare: Dataset) -> None:
    plan = bare_plan(bare)
    assert without_contents(bare_plan(bare, look=False)) == without_contents(plan)


def test_every_test_image_is_reported(folder: Path) -> None:
    reports: list[tuple[int, int]] = []
    plan_of(folder, report=lambda done, total: reports.append((done, total)))
    assert reports == [(done, 8) for done in range(1, 9)]


def test_real_photographs_plan_without_a_note(real: Path) -> None:
    dataset = read_folder("scenes", real / "folders" / "intel_scenes", "{}")
    plan = make_plan(dataset, regions=RegionParams(), shots=4, seeds=[1, 2, 3])
    assert not any(plan.notes.values())
    assert len(plan.test) == 120
    left, top, right, bottom = plan.regions["box"].T
    of = plan.images[plan.regions["image"]]
    assert ((left >= 0) & (left < right) & (right <= of["width"])).all()
    assert ((top >= 0) & (top < bottom) & (bottom <= of["height"])).all()
