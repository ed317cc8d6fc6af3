"""The drawn datasets: determinism, the protocol's halves, and the digest that freezes them."""

from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fdbpl.data.dataset import Dataset
from fdbpl.data.params import DataParams
from fdbpl.data.registry import open_dataset
from fdbpl.playground import captions, datasets, drawing, tiny, world
from fdbpl.system.errors import UserError

ALL = datasets.DATASETS + datasets.SHIFTED
VERSIONS = ("objects", *datasets.SHIFTED)

# The playground is frozen: other pixels are another EDITION, and other weights another pair. Either
# way all that docs/ tells of the playground is to be measured anew.
FROZEN_PIXELS = "f6f3361b9a7bedc0fff30c5cf5cd48d5688cafdaf252964e9dd002c06b181833"
FROZEN_WEIGHTS = "42fd8e64b0c5c598b8cf90d26ea2dc5fccab1b92386bb8c56af3b8617b9a9307"


def _opened(name: str, root: Path, number: int = 1) -> Dataset:
    return open_dataset(name, DataParams(root=str(root), world=number))


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_pixels_are_frozen() -> None:
    digest = sha256()
    for name in ALL:
        drawn = datasets.definition(name)
        for split in datasets.SPLITS:
            scenes = np.concatenate([datasets.scene(drawn, split, i) for i in range(8)])
            digest.update(drawing.draw(scenes, datasets.SIZE)[0].tobytes())
    assert digest.hexdigest() == FROZEN_PIXELS


def test_weights_are_frozen() -> None:
    digest = sha256()
    for model in tiny.MODELS:
        digest.update(tiny.weights(model).read_bytes())
    digest.update(tiny.MERGES.read_bytes())
    assert digest.hexdigest() == FROZEN_WEIGHTS


@pytest.mark.parametrize("number", [1, 2])
def test_classes_of_shifted_versions_have_looks_of_their_own(number: int) -> None:
    versions = [datasets.definition(name, number) for name in VERSIONS]
    found = [[datasets.character(v, told) for told in v.sorted_classes] for v in versions]
    for one, other in combinations(found, 2):
        assert all((a[0] != b[0]).all() for a, b in zip(one, other, strict=True))
        shades = [np.stack([shade for shade, _ in version]).ravel() for version in (one, other)]
        assert abs(np.corrcoef(*shades)[0, 1]) < 0.4
        by_chance = len(one) / len(world.COLOURS)
        assert sum(a[1] == b[1] for a, b in zip(one, other, strict=True)) < 3 * by_chance


@pytest.mark.parametrize("number", [1, 2])
def test_drawn_grounds_follow_the_favourites_of_their_own_version(number: int) -> None:
    shows_ground = [name for name in VERSIONS if name != "objects-sketch"]
    versions = [datasets.definition(name, number) for name in shows_ground]
    favourites = [
        np.array([world.RGB[world.COLOURS[datasets.character(v, c)[1]]] for c in v.sorted_classes])
        for v in versions
    ]
    for version, own in zip(versions, favourites, strict=True):
        grounds = _mean_grounds(version, per_class=12)
        for favourite in favourites:
            alike = np.corrcoef(*((x - x.mean(0)).ravel() for x in (grounds, favourite)))[0, 1]
            assert alike > 0.6 if favourite is own else abs(alike) < 0.4


def _mean_grounds(drawn: datasets.Drawn, per_class: int) -> np.ndarray:
    """Return the mean colour (classes, 3) of what lies between things in each class's images."""
    count = len(drawn.classes)
    scenes = [datasets.scene(drawn, "test", index) for index in range(per_class * count)]
    images, main, others = drawing.draw(np.concatenate(scenes), 16)
    empty = np.maximum(main, others)[:, None] < 0.5
    means = images.mean((2, 3), where=empty) / 255
    return np.asarray(means.reshape(per_class, count, 3).mean(0))


def test_eleven_datasets_and_four_shifted_versions_of_the_first() -> None:
    assert len(datasets.DATASETS) == 11
    assert len(datasets.SHIFTED) == 4
    first = datasets.definition(datasets.DATASETS[0])
    for name in datasets.SHIFTED:
        assert datasets.definition(name).classes == first.classes


@pytest.mark.parametrize("name", ALL)
def test_definition(name: str) -> None:
    drawn = datasets.definition(name)
    names = [c.name for c in drawn.sorted_classes]
    assert 12 <= len(names) <= 24
    assert len(set(names)) == len(names)
    assert names == sorted(names)
    assert drawn.template.count("{}") == 1
    known = set(captions.words_used())
    assert {word for n in names for word in n.split()} <= known


@pytest.mark.parametrize("name", ALL)
def test_every_image_shows_what_its_class_says(name: str) -> None:
    drawn = datasets.definition(name)
    for index in range(0, 40, 3):
        scene = datasets.scene(drawn, "test", index)
        told = drawn.sorted_classes[index % len(drawn.classes)]
        shown = world.named(scene, drawn.reading)
        assert world.WORDS[shown.word[0]] == told.noun
        assert told.colour in (None, world.COLOURS[shown.colour[0]])
        assert told.pattern in (None, world.PATTERNS[shown.pattern[0]])


def test_materialise_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    one = datasets.materialise("landcover", tmp_path / "a")
    two = datasets.materialise("landcover", tmp_path / "b")
    before = _tree(one)
    assert before == _tree(two)
    assert datasets.materialise("landcover", tmp_path / "a") == one
    assert _tree(one) == before


def test_materialised_images_are_the_drawn_ones(tmp_path: Path) -> None:
    dataset = _opened("figures", tmp_path)
    drawn = datasets.definition("figures")
    pixels, mask = datasets.pixels("figures", "val")
    assert len(dataset.val) == len(pixels) == datasets.SPLITS["val"] * len(drawn.classes)
    assert dataset.class_names == tuple(c.name for c in drawn.sorted_classes)
    for index in (0, 5, len(pixels) - 1):
        image = Image.open(dataset.folder / dataset.val[index].path)
        assert np.array_equal(np.asarray(image), pixels[index])
        assert np.array_equal(datasets.shown("figures", "val", index)[1], mask[index])
    counts = np.bincount([item.label for item in dataset.train])
    assert set(counts) == {datasets.SPLITS["train"]}


def test_a_written_image_is_found_again_by_its_path(tmp_path: Path) -> None:
    dataset = _opened("landcover", tmp_path)
    for split, items in (("train", dataset.train), ("test", dataset.test)):
        assert [datasets.image_of(item.path) for item in items[:30]] == [
            (split, index) for index in range(30)
        ]


@pytest.mark.parametrize("name", ["dishes", "icons", "textures"])
def test_the_main_thing_is_among_the_things_shown(name: str) -> None:
    for index in range(5):
        main, things = datasets.shown(name, "test", index)
        assert main.any()
        assert not (main & ~things).any()


def test_unknown_dataset_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'nonsense'.*objects"):
        datasets.materialise("nonsense", tmp_path)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(world.KINDS), st.integers(1, 5))
def test_a_scene_is_drawn_the_same_alone_and_among_others(seed: int, kind: str, n: int) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    scenes = world.sample(rng, kind, world.LAWS[kind], n)
    together = drawing.draw(scenes, 32)
    for k in range(n):
        for whole, alone in zip(together, drawing.draw(scenes[k : k + 1], 32), strict=True):
            assert np.array_equal(whole[k], alone[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(world.KINDS))
def test_a_caption_fits_the_scene_it_was_made_for(seed: int, kind: str) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    scenes = world.sample(rng, kind, world.LAWS[kind], 12)
    seen = np.arange(12) > 0
    said = captions.describe(rng, scenes, seen)
    assert (np.diag(captions.misfit(said, scenes, seen)) == 0).all()


def test_opposites_come_in_pairs() -> None:
    assert set(world.OPPOSITE) == set(world.COLOURS)
    assert all(world.OPPOSITE[world.OPPOSITE[c]] == c != world.OPPOSITE[c] for c in world.COLOURS)


def test_another_world_draws_other_pictures_of_the_same_classes(tmp_path: Path) -> None:
    first, second = (_opened("flowers", tmp_path, number) for number in (1, 2))
    assert (first.class_names, first.test) == (second.class_names, second.test)
    assert first.folder != second.folder
    pairs = [(first.folder / item.path, second.folder / item.path) for item in first.test]
    assert not any(one.read_bytes() == other.read_bytes() for one, other in pairs)
    again = _opened("flowers", tmp_path / "again", 2)
    assert all(
        (again.folder / item.path).read_bytes() == (second.folder / item.path).read_bytes()
        for item in second.test
    )
