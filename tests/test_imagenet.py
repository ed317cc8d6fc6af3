import shutil
from pathlib import Path

import pytest
from layouts import WNIDS, draw_layout

from fdbpl.data.published import BASE, NEW, PUBLISHED
from fdbpl.data.readers.imagenet import LAYOUTS, SHIFTED
from fdbpl.data.splits import base_and_new
from fdbpl.system.errors import UserError


def test_labels_of_a_part_of_the_classes_count_from_zero(tmp_path: Path) -> None:
    draw_layout("imagenet-adversarial", tmp_path)
    dataset = LAYOUTS["imagenet-adversarial"].read("imagenet-adversarial", tmp_path)
    assert dataset.class_names == ("ostrich", "missile", "missile")
    for item in dataset.test:
        wnid = item.path.split("/")[1]
        assert ("n01518878", "n03773504", "n04008634")[item.label] == wnid


def test_numbered_folders_follow_the_sorted_wnids_not_their_own_names(tmp_path: Path) -> None:
    folder = tmp_path / "imagenetv2"
    wnids = [f"n{index:08}" for index in range(12)]
    folder.mkdir()
    lines = [f"{wnid} class {wnid[-2:]}\n" for wnid in reversed(wnids)]
    (folder / "classnames.txt").write_text("".join(lines))
    for place in (0, 2, 9, 10, 11):
        (folder / LAYOUTS["imagenetv2"].test / str(place)).mkdir(parents=True)
        (folder / LAYOUTS["imagenetv2"].test / str(place) / "x.jpeg").touch()
    dataset = LAYOUTS["imagenetv2"].read("imagenetv2", tmp_path)
    assert dataset.class_names == tuple(f"class {place:02}" for place in (0, 2, 9, 10, 11))
    folders = [item.path.split("/")[1] for item in dataset.test]
    assert folders == ["0", "2", "9", "10", "11"]
    assert [item.label for item in dataset.test] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_that_stands_for_no_class_is_named(name: str, tmp_path: Path) -> None:
    draw_layout(name, tmp_path)
    layout = LAYOUTS[name]
    stray = tmp_path / name / (layout.train or layout.test) / "n99999999"
    stray.mkdir()
    with pytest.raises(UserError, match=r"n99999999: a class that classnames\.txt does not know"):
        LAYOUTS[name].read(name, tmp_path)


def test_a_class_to_test_must_be_one_to_train(tmp_path: Path) -> None:
    draw_layout("imagenet", tmp_path)
    images = tmp_path / "imagenet" / "images"
    shutil.rmtree(images / "train" / "n02012849")
    with pytest.raises(UserError, match=r"val/n02012849: a class that images/train does not know"):
        LAYOUTS["imagenet"].read("imagenet", tmp_path)
    shutil.rmtree(images / "val" / "n02012849")
    assert len(LAYOUTS["imagenet"].read("imagenet", tmp_path).class_names) == len(WNIDS) - 1
    shutil.rmtree(images / "val" / "n01440764")
    assert LAYOUTS["imagenet"].read("imagenet", tmp_path).test[0].label == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("n01440764 tench again", "line 7: .* a second line of this wnid"),
        ("n01440765", "line 7: 'n01440765': no class name"),
    ],
)
def test_a_wrong_line_of_class_names_is_named(line: str, says: str, tmp_path: Path) -> None:
    draw_layout("imagenet", tmp_path)
    path = tmp_path / "imagenet" / "classnames.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=rf"classnames\.txt, {says}"):
        LAYOUTS["imagenet"].read("imagenet", tmp_path)


def test_the_thousand_classes_have_their_places_in_every_version(
    tmp_path: Path, real: Path
) -> None:
    lines = (real / "splits" / "imagenet_classnames.txt").read_text().splitlines()
    wnids = [line.split()[0] for line in lines]
    said = tuple(line.split(maxsplit=1)[1] for line in lines)
    for name in ("imagenet", "imagenetv2", "imagenet-sketch"):
        layout = LAYOUTS[name]
        (tmp_path / name).mkdir()
        shutil.copy(real / "splits" / "imagenet_classnames.txt", tmp_path / name / "classnames.txt")
        for part in filter(None, (layout.train, layout.test)):
            for place, wnid in enumerate(wnids):
                image = tmp_path / name / part / (str(place) if layout.numbered else wnid) / "1.jpg"
                image.parent.mkdir(parents=True)
                image.touch()
        dataset = LAYOUTS[name].read(name, tmp_path)
        assert dataset.class_names == said
        assert [item.label for item in dataset.test] == list(range(1000))
        if name not in SHIFTED:
            base, new = base_and_new(dataset.train)
            wanted = PUBLISHED[name]
            assert (len(base), len(new)) == (wanted[BASE], wanted[NEW])


def test_the_real_photographs_are_where_the_layout_says(real: Path) -> None:
    dataset = LAYOUTS["imagenet"].read("imagenet", real)
    assert len(dataset.class_names) == 200
    assert (len(dataset.train), len(dataset.test)) == (3200, 1600)
    assert dataset.class_names[:2] == ("goldfish", "fire salamander")
