from pathlib import Path

import pytest
from conftest import draw_folder, write_split

from fdbpl.benchmarks.registry import open_dataset
from fdbpl.errors import UserError
from fdbpl.params import DataParams, OwnDataset


def own(folder: Path) -> DataParams:
    return DataParams(root=str(folder), own={"mine": OwnDataset(folder=str(folder))})


def test_ones_own_folder(tmp_path: Path) -> None:
    draw_folder(tmp_path, {"a": (1, 1), "b": (1, 1)})
    assert open_dataset("mine", own(tmp_path)).class_names == ("a", "b")


def test_coops_layout(tmp_path: Path) -> None:
    split = tmp_path / "eurosat" / "split_zhou_EuroSAT.json"
    write_split(split, train=[["a.png", 0, "Forest"], ["b.png", 1, "River"]])
    (tmp_path / "eurosat" / "2750").mkdir()
    dataset = open_dataset("eurosat", DataParams(root=str(tmp_path)))
    assert dataset.template == "a centered satellite photo of {}."
    assert dataset.folder == tmp_path / "eurosat" / "2750"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'imagnet' is unknown.*objects.*eurosat.*data\.own"):
        open_dataset("imagnet", DataParams())


def test_one_class_or_two_of_one_name_are_refused(tmp_path: Path) -> None:
    draw_folder(tmp_path, {"sea_side": (1, 1)})
    with pytest.raises(UserError, match="'mine' has 1 classes, wanted at least 2"):
        open_dataset("mine", own(tmp_path))
    draw_folder(tmp_path, {"sea side": (1, 1)})
    with pytest.raises(UserError, match="two classes named 'sea side'"):
        open_dataset("mine", own(tmp_path))
