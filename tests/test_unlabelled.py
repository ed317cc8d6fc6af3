from pathlib import Path

import pytest
from conftest import draw_image

from fdbpl.benchmarks.dataset import UNKNOWN, Item
from fdbpl.benchmarks.unlabelled import read_unlabelled
from fdbpl.errors import UserError


def test_images_have_no_class_and_labels_follow_the_lines(tmp_path: Path) -> None:
    images, names = tmp_path / "images", tmp_path / "names.txt"
    draw_image(images / "b c.png", 0)
    draw_image(images / "a" / "ü.png", 1)
    names.write_text("zebra\n\n  sea_side \ncafe\u0301\n")
    dataset = read_unlabelled("mine", images, names, "{}.")
    assert dataset.class_names == ("zebra", "sea side", "caf\u00e9")
    assert dataset.train == (Item("a/ü.png", UNKNOWN), Item("b c.png", UNKNOWN))
    assert dataset.test == dataset.val == ()


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    images, names = tmp_path / "images", tmp_path / "names.txt"
    with pytest.raises(UserError, match=r"images: no such folder.*data\.own\.mine\.images"):
        read_unlabelled("mine", images, names, "{}.")
    images.mkdir()
    with pytest.raises(UserError, match=r"names\.txt: No such file.*data\.own\.mine\.names"):
        read_unlabelled("mine", images, names, "{}.")
    names.write_text("car\nbus\n CAR\n")
    with pytest.raises(UserError, match=r"names\.txt, line 3: class name 'CAR' .* line 1"):
        read_unlabelled("mine", images, names, "{}.")
    names.write_text("car\n_\n")
    with pytest.raises(UserError, match=r"names\.txt, line 2: an empty class name"):
        read_unlabelled("mine", images, names, "{}.")
    names.write_text("car\nbus\n")
    with pytest.raises(UserError, match="images: no image in it"):
        read_unlabelled("mine", images, names, "{}.")
