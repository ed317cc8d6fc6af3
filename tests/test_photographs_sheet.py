"""The sheet of test pictures."""

from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder
from PIL import Image

from fdbpl.system.errors import UserError
from studies.photographs.sheet import ACROSS, first_of_classes, same_picture, write_sheet


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, count in (("few", 3), ("many", 23), ("few-grey", 3)):
        draw_folder(tmp_path / name, {f"kind_{n:02}": (1, 2) for n in range(count)})
    return tmp_path


@pytest.mark.parametrize(("name", "count"), [("few", 3), ("many", ACROSS)])
def test_every_picture_is_of_another_class(data: Path, name: str, count: int) -> None:
    cells = first_of_classes(data / name, ACROSS)
    assert len({path.parent for path, _ in cells}) == len(cells) == count
    assert all("test" in path.parts and path.is_file() for path, _ in cells)
    names = [shown for _, shown in cells]
    assert names == sorted(names)
    assert names[0] == "kind 00"
    assert names[-1] == ("kind 02" if name == "few" else "kind 22")


def test_a_shifted_picture_is_that_of_its_class_and_name(data: Path) -> None:
    for picture, _ in first_of_classes(data / "few", 2):
        found = same_picture(picture, data / "few-grey")
        assert found.relative_to(data / "few-grey") == picture.relative_to(data / "few")
    alone = data / "few-alone"
    (data / "few-grey" / "test").rename(alone)  # class folders without test/
    assert same_picture(picture, alone).parent.parent == alone
    with pytest.raises(UserError, match=r"no picture kind_00/00 below it"):
        same_picture(
            data / "few" / "test" / "kind_00" / "00.png", data / "many" / "train" / "kind_01"
        )


def test_the_sheet_has_a_row_for_each_dataset_and_one_for_its_shifts(data: Path) -> None:
    out = data / "out" / "sheet.png"
    heights = []
    for datasets, shifted in (
        (["few"], {}),
        (["few", "many"], {}),
        (["few"], {"few": ["few-grey"]}),
    ):
        write_sheet(data, datasets, out, shifted)
        with Image.open(out) as sheet:
            heights.append(sheet.height)
            assert np.asarray(sheet.convert("L")).std() > 10
    assert heights[0] < heights[1] == heights[2]


def test_a_class_without_pictures_is_named(data: Path) -> None:
    for picture in (data / "few" / "test" / "kind_01").iterdir():
        picture.unlink()
    with pytest.raises(UserError, match=r"kind_01: no picture in it"):
        first_of_classes(data / "few", ACROSS)
