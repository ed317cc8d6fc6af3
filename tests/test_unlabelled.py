from pathlib import Path

import pytest
from conftest import draw_image

from fdbpl.data.dataset import UNKNOWN, Item
from fdbpl.data.readers.unlabelled import read_unlabelled
from fdbpl.system.errors import UserError


def test_images_have_no_class_and_labels_follow_the_lines(tmp_path: Path) -> None:
    images, names = tmp_path / "images", tmp_path / "names.txt"
    draw_image(images / "b c.png", 0)
    draw_image(images / "a" / "ü.png", 1)
    names.write_text("zebra\n\n  sea_side \ncafe\u0301\n")
    dataset = read_unlabelled("mine", images, names, "{}.")
    assert dataset.class_names == ("zebra", "sea side", "caf\u00e9")
    assert dataset.train == (Item("a/ü.png", UNKNOWN), Item("b c.png", UNKNOWN))
    assert dataset.test == dataset.val == ()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (None, r"names\.txt: No such file.*data\.own\.mine\.names"),
        ("car\nbus\n CAR\n", r"names\.txt, line 3: class name 'CAR' .* line 1"),
        ("car\n_\n", r"names\.txt, line 2: an empty class name"),
        ("car\nbus\n", "images: no image in it"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, names: str | None, says: str) -> None:
    images, listed = tmp_path / "images", tmp_path / "names.txt"
    with pytest.raises(UserError, match=r"images: no such folder.*data\.own\.mine\.images"):
        read_unlabelled("mine", images, listed, "{}.")
    images.mkdir()
    if names is not None:
        listed.write_text(names)
    with pytest.raises(UserError, match=says):
        read_unlabelled("mine", images, listed, "{}.")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures without a class, and labelled ones of two classes in and beside them."""
    images = tmp_path / "images"
    for index in range(2):
        draw_image(images / f"{index}.png", index)
    for test in (images / "checked", tmp_path / "checked"):
        for index, name in enumerate(("Sea_side", "caf\u00e9")):
            draw_image(test / name / f"{index}.png", 10 + index)
    draw_image(images / "checked" / "loose.png", 20)
    return images


@pytest.mark.parametrize("inside", [True, False])
def test_labelled_test_images_lie_inside_or_beside(pictures: Path, inside: bool) -> None:
    names = pictures.parent / "names.txt"
    names.write_text("cafe\u0301\nzebra\nsea side\n")
    test = (pictures if inside else pictures.parent) / "checked"
    dataset = read_unlabelled("mine", pictures, names, "{}.", test)
    below = "checked" if inside else "../checked"
    assert dataset.class_names == ("caf\u00e9", "zebra", "sea side")
    assert dataset.test == (Item(f"{below}/Sea_side/0.png", 2), Item(f"{below}/caf\u00e9/1.png", 0))
    assert {Item("0.png", UNKNOWN), Item("1.png", UNKNOWN)} <= set(dataset.train)
    labelled = {item.path for item in dataset.train if item.path.startswith(below)}
    assert labelled == set()
    assert all((dataset.folder / item.path).is_file() for item in dataset.test)


def test_a_linked_folder_of_images_finds_its_neighbour(pictures: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(pictures)
    dataset = read_unlabelled("mine", link, None, "{}.", tmp_path / "checked")
    assert dataset.class_names == ("Sea side", "caf\u00e9")
    assert all((dataset.folder / item.path).is_file() for item in dataset.test)


def test_without_names_the_test_folders_or_the_vocabulary_name_classes(pictures: Path) -> None:
    words = ("red", "blue", "green")
    tested = read_unlabelled("mine", pictures, None, "{}.", pictures / "checked", words)
    assert tested.class_names == ("Sea side", "caf\u00e9")
    assert [item.label for item in tested.test] == [0, 1]
    bare = read_unlabelled("mine", pictures, None, "{}.", vocabulary=words)
    assert bare.class_names == words
    assert bare.test == ()


def test_a_test_folder_that_does_not_fit_is_named(
    pictures: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    names = tmp_path / "names.txt"
    names.write_text("zebra\nsea side\n")
    with pytest.raises(UserError, match=r"checked/caf.*'caf\u00e9' is not in .*names\.txt"):
        read_unlabelled("mine", pictures, names, "{}.", pictures / "checked")
    with pytest.raises(UserError, match=r"none: no such folder.*data\.own\.mine\.test"):
        read_unlabelled("mine", pictures, names, "{}.", tmp_path / "none")
    for test in (pictures, tmp_path, elsewhere):
        with pytest.raises(UserError, match=r"lies neither in .* nor beside it"):
            read_unlabelled("mine", pictures, names, "{}.", test)
