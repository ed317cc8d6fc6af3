"""Model cards: every section, and class names of any letters."""

import io
import re
import warnings

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from student_models import about
from taught import NAMES, Taught

from fdbpl.methods.registry import title_of
from fdbpl.serving.card import LONGEST, PICTURE, SHOWN, card, card_files, picture, plain
from fdbpl.serving.figures import HELD_OUT, weakest
from fdbpl.serving.model_folder import CARD, About, open_model

SECTIONS = ("How good it is", "Pictures of something else", "How it was learned")
ODD = ("a|b", "$5 ^bill_{", "<script>", "*star*", "[link](to)", "`tick`", "雪 豹", "é" * 99)


def tables(text: str) -> list[list[str]]:
    """The rows of a card's tables, each split where Markdown does."""
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def named(names: tuple[str, ...], **measured: object) -> About:
    """A model of classes, each of which was once taken for the next."""
    classes = {
        name: {name: 3, names[(place + 1) % len(names)]: 1} for place, name in enumerate(names)
    }
    share = {"90": 90.0, "95": 95.0, "99": 99.0}
    found = {
        "pictures": 4 * len(names), "labels": "told", "own_test": False, "accuracy": 75.0,
        "low": 60.0, "high": 85.0, "tried": {"zero_shot": 70.0, "gda": 75.0, "own.py:A|B": 1.0},
        "classes": classes, "kept": share, "refused": share,
    }  # fmt: skip
    made = {"pictures": 20, "shots": "all", "labels": "told", "crops": 4, "seed": 1, "folds": 5}
    made["calibrated_on"] = HELD_OUT
    return about(class_names=list(names), measured={**found, **measured}, made=made, method="gda")


def test_a_card_has_every_section_and_says_what_was_measured(taught: Taught) -> None:
    text = (taught.path / CARD).read_text(encoding="utf-8")
    assert re.findall("^## (.*)$", text, re.M) == list(SECTIONS)
    head = next(yaml.safe_load_all(text))
    assert head["library_name"] == "fdbpl"
    assert taught.made.method.name in head["tags"]
    for name in NAMES:
        assert name in text
    measured = taught.made.measured
    assert f"**{measured['accuracy']:.1f} %**" in text
    for name, value in measured["tried"].items():
        assert [title_of(name), f"{value:.1f}"] in tables(text)
    for kept, limit in taught.made.calibration.thresholds.items():
        share, refused = measured["kept"][str(kept)], measured["refused"][str(kept)]
        wanted = [str(kept), f"{limit:.2f}", f"{share:.1f}", f"{refused:.1f}"]
        assert wanted in tables(text)
    assert "fdbpl predict shapes PICTURES" in text
    assert 'Prompt: "a photo of a {}."' in text
    assert str(taught.path.parent) not in text


def test_a_card_can_be_made_again_of_the_model_alone(taught: Taught) -> None:
    again = card_files(open_model(taught.path).about)
    assert again[CARD] == (taught.path / CARD).read_bytes()
    assert again[PICTURE] == (taught.path / PICTURE).read_bytes()


def test_tables_have_as_many_cells_in_every_row_whatever_the_names() -> None:
    unknown = {"pictures": 7, "refused": {"90": 1.0, "95": 2.0, "99": 3.0}}
    for measured in ({}, {"unknown": unknown}, {"own_test": True}, {"labels": "teacher"}):
        text = card(named(ODD, **measured))
        assert re.findall("^## (.*)$", text, re.M) == list(SECTIONS)
        widths = {2: "method tried", 4: "threshold for", 5: "threshold for"}
        assert {len(row) for row in tables(text)} == {2, 5 if "unknown" in measured else 4}
        for row in tables(text):
            assert len(row) in widths
        assert "of 7 pictures of none of them" in text or "unknown" not in measured
        assert "<script>" not in text.replace(r"\<script\>", "")
        assert r"a\|b" in text


@given(text=st.text(max_size=40))
def test_text_is_made_plain_on_one_line(text: str) -> None:
    found = plain(text)
    assert found.splitlines() in ([found], [])
    assert re.sub(r"\\(.)", r"\1", found) == " ".join(text.split())
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<>*`\[\]]", found)


@pytest.mark.parametrize("names", [ODD, ("a", "b"), tuple(f"class {n}" for n in range(60))])
def test_the_picture_is_drawn_quietly_whatever_the_names(names: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = picture(named(names).measured["classes"])
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert max(image.size) < 110 * (8 + 0.26 * SHOWN + 0.2 * LONGEST)
    assert picture(named(names).measured["classes"]) == data


def test_classes_without_pictures_are_not_drawn_nor_weak() -> None:
    classes = {"a": {"a": 2}, "b": {}, "c": {"a": 3, "c": 1, "b": 1}, "d": {"b": 1}}
    assert picture(classes)
    assert weakest(classes) == ["d 0%, taken for b 100%", "c 20%, taken for a 60%, b 20%"]
    assert "No class is ever missed" in card(named(("a", "b"), classes={"a": {"a": 1}, "b": {}}))


def test_many_classes_are_not_all_listed() -> None:
    text = card(named(tuple(f"class {n}" for n in range(60))))
    assert "Tells 60 classes" in text
    assert "class 39, ..." in text
    assert "class 40," not in text


def test_a_name_is_one_word_to_the_shell() -> None:
    text = card(named(("a", "b")).model_copy(update={"name": "my birds; rm x"}))
    assert "fdbpl predict 'my birds; rm x' PICTURES" in text
