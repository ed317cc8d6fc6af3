from pathlib import Path

import pytest
from conftest import draw_folder, draw_image, write_split
from layouts import draw_layout

from fdbpl.data.dataset import Dataset
from fdbpl.data.params import DataParams, OwnDataset
from fdbpl.data.registry import KNOWN, SHIFTED, is_drawn, is_shifted, open_dataset
from fdbpl.playground import datasets as playground
from fdbpl.settings.params import TransferParams
from fdbpl.system.errors import UserError


def own(folder: Path) -> DataParams:
    return DataParams(root=str(folder), own={"mine": OwnDataset(folder=str(folder))})


def test_ones_own_folder_of_a_drawn_name_is_not_drawn(tmp_path: Path) -> None:
    assert is_drawn("vehicles", DataParams())
    assert not is_drawn("vehicles", DataParams(own={"vehicles": OwnDataset(folder=str(tmp_path))}))
    assert not is_drawn("dtd", DataParams())


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


def test_one_class_is_refused(tmp_path: Path) -> None:
    draw_folder(tmp_path, {"sea_side": (1, 1)})
    with pytest.raises(UserError, match=r"'mine' in .* has one class, 'sea side', wanted at"):
        open_dataset("mine", own(tmp_path))


def test_ones_own_table_and_images_without_classes(tmp_path: Path) -> None:
    draw_image(tmp_path / "photos" / "1.png", 1)
    draw_image(tmp_path / "photos" / "2.png", 2)
    (tmp_path / "t.csv").write_text("image,class\nphotos/1.png,ant\nphotos/2.png,bee\n")
    (tmp_path / "names.txt").write_text("bee\nant\n")
    data = DataParams(
        own={
            "listed": OwnDataset(table=str(tmp_path / "t.csv"), template="{}!"),
            "plain": OwnDataset(images=str(tmp_path / "photos"), names=str(tmp_path / "names.txt")),
        }
    )
    listed, plain = open_dataset("listed", data), open_dataset("plain", data)
    assert (listed.class_names, listed.template) == (("ant", "bee"), "{}!")
    assert plain.class_names == ("bee", "ant")
    assert plain.folder == tmp_path / "photos"


def test_two_published_classes_may_share_a_name(tmp_path: Path) -> None:
    draw_layout("imagenet", tmp_path)
    names = open_dataset("imagenet", DataParams(root=str(tmp_path))).class_names
    assert names.count("missile") == 2


def test_the_shifted_versions_are_those_the_registry_says() -> None:
    for source, versions in SHIFTED.items():
        others = [name for name in KNOWN if name != source]
        transfer = TransferParams(source=source, targets=others)
        found = {name for name in others if is_shifted(name, transfer)}
        assert found == set(versions)
    classes = {playground.definition(name).classes for name in ("objects", *SHIFTED["objects"])}
    assert len(classes) == 1


def test_known_datasets_of_equal_names_are_no_versions_of_each_other() -> None:
    assert playground.definition("textures").classes == playground.definition("landcover").classes
    transfer = TransferParams(source="textures", targets=["landcover"])
    assert not is_shifted("landcover", transfer)


def test_of_ones_own_datasets_the_parameters_tell() -> None:
    transfer = TransferParams(source="mine", targets=["inked", "else"], shifted=["inked"])
    assert is_shifted("inked", transfer)
    assert not is_shifted("else", transfer)


def test_no_class_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Dataset("mine", tmp_path, (), "{}", (), (), ())
    monkeypatch.setattr("fdbpl.data.registry.read_folder", lambda *_: empty)
    with pytest.raises(UserError, match=r"'mine' in .* has no class, wanted at least 2\."):
        open_dataset("mine", own(tmp_path))
