from pathlib import Path

import pytest
from conftest import draw_image
from workspaces import workspace_params

from fdbpl.data import registry
from fdbpl.data.dataset import Dataset
from fdbpl.data.params import DataParams, OwnDataset
from fdbpl.data.registry import KNOWN, SHIFTED, is_drawn, open_dataset
from fdbpl.playground import datasets as playground
from fdbpl.stages.prepare_crops import require_shifted_listed
from fdbpl.system.errors import UserError


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'imagnet' is unknown.*objects.*eurosat.*data\.own"):
        open_dataset("imagnet", DataParams())


def test_ones_own_folder_of_a_drawn_name_is_not_drawn(tmp_path: Path) -> None:
    assert is_drawn("vehicles", DataParams())
    assert not is_drawn("vehicles", DataParams(own={"vehicles": OwnDataset(folder=str(tmp_path))}))
    assert not is_drawn("dtd", DataParams())


@pytest.mark.parametrize(
    ("names", "says"),
    [(("sea side",), "one class, 'sea side', wanted at"), ((), "no class, wanted")],
)
def test_fewer_than_two_classes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], says: str
) -> None:
    found = Dataset("mine", tmp_path, names, "{}", (), (), ())
    monkeypatch.setattr("fdbpl.data.registry.read_folder", lambda *_: found)
    data = DataParams(own={"mine": OwnDataset(folder=str(tmp_path))})
    with pytest.raises(UserError, match=rf"'mine' in .* has {says}"):
        open_dataset("mine", data)


def test_a_layout_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file has to hold is what this class holds."""

    class Flat:
        lists = "names.txt"
        page = "https://example.org/flat"

        def read(self, name: str, root: Path) -> Dataset:
            classes = tuple((root / name / self.lists).read_text().split())
            return Dataset(name, root / name, classes, "a {}.", (), (), ())

    lines = {**registry.LAYOUTS, "flat": Flat()}
    monkeypatch.setattr(registry, "LAYOUTS", lines)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "names.txt").write_text("ant bee")
    assert open_dataset("flat", DataParams(root=str(tmp_path))).class_names == ("ant", "bee")


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


def test_known_shifted_versions_are_to_be_listed_as_such(tmp_path: Path) -> None:
    for source, versions in SHIFTED.items():
        listed = workspace_params(tmp_path, list(KNOWN), source=source, data={})
        for name in KNOWN:
            if name not in versions:
                require_shifted_listed(name, listed)
                continue
            with pytest.raises(UserError, match=f"{name} shows the classes of {source}.*shifted"):
                require_shifted_listed(name, listed)
        told = workspace_params(
            tmp_path, list(KNOWN), source=source, data={}, shifted=list(versions)
        )
        for name in versions:
            require_shifted_listed(name, told)
    classes = {playground.definition(name).classes for name in ("objects", *SHIFTED["objects"])}
    assert len(classes) == 1
