import builtins
import csv
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdbpl.data.dataset import UNKNOWN, Item
from fdbpl.data.readers.table import read_table
from fdbpl.data.splits import hold_out
from fdbpl.system.errors import UserError

Write = Callable[[Path, list[dict[str, Any]]], Path]


def write_csv(folder: Path, rows: list[dict[str, Any]]) -> Path:
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "table.csv"


def write_parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "table.parquet")
    return folder / "table.parquet"


WRITERS = pytest.mark.parametrize("write", [write_csv, write_parquet])
ROWS = [
    {"image": "in/b c.jpg", "class": "sea_side", "split": "train", "more": 1},
    {"image": "in/é,1.jpg", "class": " sea  side", "split": "test", "more": 2},
    {"image": "a.jpg", "class": "car", "split": "Train", "more": 3},
    {"image": "d.jpg", "class": "car", "split": "val", "more": 4},
    {"image": "c.jpg", "class": "car", "split": "test", "more": 5},
]


@WRITERS
def test_a_table_becomes_a_dataset(write: Write, tmp_path: Path) -> None:
    dataset = read_table("mine", write(tmp_path, ROWS), "{}.")
    assert dataset.folder == tmp_path
    assert dataset.class_names == ("car", "sea side")
    assert dataset.train == (Item("a.jpg", 0), Item("in/b c.jpg", 1))
    assert dataset.val == (Item("d.jpg", 0),)
    assert dataset.test == (Item("c.jpg", 0), Item("in/é,1.jpg", 1))


@WRITERS
def test_the_order_of_rows_does_not_matter(write: Write, tmp_path: Path) -> None:
    dataset = read_table("mine", write(tmp_path, ROWS), "{}.")
    for seed in range(3):
        shuffled = random.Random(seed).sample(ROWS, len(ROWS))
        assert read_table("mine", write(tmp_path, shuffled), "{}.") == dataset


def test_without_splits_images_are_held_out(tmp_path: Path) -> None:
    rows = [{"image": f"{c}{i}.jpg", "class": c} for i in range(10) for c in "ab"]
    dataset = read_table("mine", write_csv(tmp_path, rows), "{}.")
    items = [Item(row["image"], "ab".index(row["class"])) for row in rows]
    assert (dataset.train, dataset.test) == hold_out(items)
    assert Counter(item.label for item in dataset.test) == {0: 2, 1: 2}


@WRITERS
def test_training_images_may_have_no_class(write: Write, tmp_path: Path) -> None:
    none = "" if write is write_csv else None
    rows = [
        {"image": "1.jpg", "class": none, "split": "train"},
        {"image": "2.jpg", "class": "bus", "split": "test"},
        {"image": "3.jpg", "class": "car", "split": "test"},
    ]
    dataset = read_table("mine", write(tmp_path, rows), "{}.")
    assert dataset.train == (Item("1.jpg", UNKNOWN),)
    assert dataset.class_names == ("bus", "car")
    rows[1]["class"] = none
    with pytest.raises(UserError, match=r"(line 3|row 2): a test image without class"):
        read_table("mine", write(tmp_path, rows), "{}.")


@WRITERS
@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"image": "../x.jpg"}, "leads outside"),
        ({"image": "link.jpg"}, "leads outside"),
        ({"split": "testing"}, "split is 'testing', wanted train, val, test"),
        ({"split": ""}, "split is '', wanted train, val, test"),
        ({"class": "_"}, "class is '_', wanted letters"),
        ({"image": "a.jpg"}, "image 'a.jpg' stands at"),
        ({"class": "CAR"}, "class name 'CAR' is the same to CLIP as 'car'"),
    ],
)
def test_a_wrong_row_is_named(write: Write, row: dict[str, str], says: str, tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("/etc/hostname")
    table = write(tmp_path, [*ROWS, {**ROWS[0], "image": "z.jpg", **row}])
    with pytest.raises(UserError) as error:
        read_table("mine", table, "{}.")
    where = "line 7" if table.suffix == ".csv" else "row 6"
    assert str(error.value).startswith(f"{table}, {where}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "found columns ; wanted a table with columns image, class"),
        (b"image;class\na.jpg;car\n", r"found columns image;class.*by commas"),
        (b"picture,class\na.jpg,car\n", "found columns picture, class"),
        (b"image,class\n", "no rows"),
        (b"image,class\na.jpg\n", "line 2: not as many cells"),
        (b"image,class\na.jpg,car,red\n", "line 2: not as many cells"),
        (b'image,class\na.jpg,"car\n', "line 2: "),
        (b"image,class\na.jpg,caf\xe9\n", "line 2: not UTF-8"),
    ],
)
def test_files_that_are_no_tables(text: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(UserError, match=says):
        read_table("mine", tmp_path / "t.csv", "{}.")


def test_what_a_spreadsheet_saves(tmp_path: Path) -> None:
    text = 'image,class\r\n"a,1.jpg","sea ""side"""\r\n\r\nb.jpg,Car\r\n'
    (tmp_path / "T.CSV").write_bytes(b"\xef\xbb\xbf" + text.encode())
    dataset = read_table("mine", tmp_path / "T.CSV", "{}.")
    assert dataset.class_names == ("Car", 'sea "side"')
    assert {item.path for item in dataset.train} == {"a,1.jpg", "b.jpg"}


def test_files_that_are_no_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "t.parquet"
    with pytest.raises(UserError, match=r"t\.parquet: no such file"):
        read_table("mine", table, "{}.")
    table.write_bytes(b"image,class\n")
    with pytest.raises(UserError, match=r"t\.parquet: not a Parquet table"):
        read_table("mine", table, "{}.")
    with pytest.raises(UserError, match=r"t\.xlsx: wanted a table of the name \.csv or \.parquet"):
        read_table("mine", tmp_path / "t.xlsx", "{}.")
    plain = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pyarrow":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs the package pyarrow"):
        read_table("mine", table, "{}.")


@pytest.mark.parametrize("row", [",,", " , ,", ",,,,", ",", '"",,""'])
def test_rows_that_say_nothing_are_none(tmp_path: Path, row: str) -> None:
    text = f"image,class,split\n{row}\na.jpg,car,train\nb.jpg,bus,test\n{row}\n{row}\n"
    (tmp_path / "t.csv").write_text(text)
    dataset = read_table("mine", tmp_path / "t.csv", "{}.")
    assert (dataset.train, dataset.test) == ((("a.jpg", 1),), (("b.jpg", 0),))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("class", "split", "image"):
        (tmp_path / "t.csv").write_text(f"image,class,split,{name}\na.jpg,car,train,x\n")
        with pytest.raises(UserError, match=rf"t\.csv: two columns '{name}', wanted one"):
            read_table("mine", tmp_path / "t.csv", "{}.")
    (tmp_path / "t.csv").write_text("image,class,,\na.jpg,car,,\nb.jpg,bus,,\n")
    assert len(read_table("mine", tmp_path / "t.csv", "{}.").class_names) == 2
