import unicodedata
from pathlib import Path

import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.data.names import read_vocabulary, require_distinct, spoken
from fdbpl.system.errors import UserError


@given(st.text(max_size=12))
def test_spoken_names_are_single_spaced_however_they_are_spelt(name: str) -> None:
    said = spoken(name)
    assert "_" not in said
    assert said == " ".join(said.split())
    assert spoken(said) == spoken(unicodedata.normalize("NFD", name)) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("sea_side", "sea side"),
        ("  two\u00a0 words\t", "two words"),
        ("F-16A/B", "F-16A/B"),
        ("cre\u0301me bru\u0302le\u0301e", "cr\u00e9me br\u00fbl\u00e9e"),
        ("___", ""),
    ],
)
def test_names_as_people_write_them(written: str, said: str) -> None:
    assert spoken(written) == said


@given(st.lists(st.sampled_from(["car", "Car", "CAR", "bus", "Bus", ""]), max_size=4))
def test_names_differ_as_clip_reads_them(names: list[str]) -> None:
    placed = [(f"line {index}", name) for index, name in enumerate(names)]
    if "" in names or len({name.lower() for name in names}) < len(names):
        with pytest.raises(UserError, match=r"^line \d: "):
            require_distinct(placed)
    else:
        require_distinct(placed)


def test_both_places_are_named() -> None:
    with pytest.raises(UserError, match=r"line 2: class name 'Car' is the same .* 'car' .line 1."):
        require_distinct([("line 1", "car"), ("line 2", "Car")])


def test_a_control_character_is_named() -> None:
    with pytest.raises(UserError, match=r"line 2: class name 'c\\x1b\[2Jat' has a control char"):
        require_distinct([("line 1", "car"), ("line 2", "c\x1b[2Jat")])


def test_a_vocabulary_keeps_its_order_and_takes_each_name_once(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("zebra\n\n sea_lion\nZebra\ncafe\u0301\nsea lion\n_\n", encoding="utf-8-sig")
    assert read_vocabulary(str(file)) == ("zebra", "sea lion", "caf\u00e9")


def test_the_names_of_imagenet_come_with_open_clip() -> None:
    names = read_vocabulary("imagenet")
    assert set(names) <= set(open_clip.IMAGENET_CLASSNAMES)
    assert len(names) == len({name.lower() for name in open_clip.IMAGENET_CLASSNAMES})


def test_a_vocabulary_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: No such file.*data\.vocabulary"):
        read_vocabulary(str(tmp_path / "none.txt"))
    (tmp_path / "one.txt").write_text("dog\nDog\n")
    with pytest.raises(UserError, match=r"one\.txt: 1 names in it, wanted at least 2"):
        read_vocabulary(str(tmp_path / "one.txt"))
