"""The parts of the page: escaped, closed, and with the numbers that they were given."""

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import Page, sound
from PIL import Image

from fdbpl.evaluation.confusion import Confusion
from fdbpl.html.classes import MOST, class_table
from fdbpl.html.curves import panels
from fdbpl.html.dataset import DatasetReport, dataset_part
from fdbpl.html.element import Html, element, joined
from fdbpl.html.matrix import OTHERS, matrix
from fdbpl.html.mistakes import MistakeCard, cards
from fdbpl.html.page import page
from fdbpl.html.picture import MISSING, SIDE, thumbnail
from fdbpl.html.plot import plot
from fdbpl.html.regions import card_of, region_card
from fdbpl.html.table import of_markdown
from fdbpl.reporting.region_view import Guess, RegionView
from fdbpl.reporting.tables import markdown

ODD = """<script>alert("1")</script> & 'it'"""


def noise(side: int = 200) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8))


def region(box: tuple[int, int, int, int], name: str = "b") -> RegionView:
    guesses = (Guess(name, 0.75), Guess("c", 0.25))
    return RegionView(box, True, 0.5, guesses, guesses, -1.25, 12.0)


def many(classes: int, name: str = "class") -> Confusion:
    """As many pictures of each class, the earlier classes found less often."""
    counts = np.full((classes, classes), 2)
    counts[np.diag_indices(classes)] = np.arange(classes) + 1
    return Confusion(tuple(f"{name} {label}" for label in range(classes)), counts)


@given(st.text())
def test_text_comes_back_as_it_was_put_in(text: str) -> None:
    text = text.replace("\r", "").replace("\0", "")  # which no HTML can hold
    found = Page(element("p", text, title=text))
    assert "".join(found.words) == text
    assert found.tags == ["p"]


def test_markup_is_put_in_once_and_attributes_are_named_as_in_svg() -> None:
    inner = element("b", "a & b")
    assert joined(inner, "<") == "<b>a &amp; b</b>&lt;"
    assert element("path", inner, stroke_width=2, class_="x", id=None) == Html(
        '<path stroke-width="2" class="x"><b>a &amp; b</b></path>'
    )
    assert element("img", src="#", alt='"') == '<img src="#" alt="&quot;">'


def test_markdown_tables_keep_their_cells() -> None:
    rows = [("method", "a", "b"), ("x < y & z", "1.00", "-"), ("CoOp", "2.00 ± 0.10", "3.00")]
    found = sound(of_markdown(f"A line:\n\n{markdown(rows)}\n\nAnother"))
    assert found.text == "A line: " + " ".join(" ".join(row) for row in rows) + " Another"
    assert found.tags.count("tr") == 3
    assert found.tags.count("p") == 2


def test_of_many_classes_the_weakest_are_shown_and_it_is_said() -> None:
    confusion = many(MOST + 5)
    shown = sound(class_table(confusion))
    assert f"The {MOST} weakest of {MOST + 5} classes." in shown.text
    assert "class 0 " in shown.text
    assert f"class {MOST + 4} " not in shown.text
    drawn = sound(matrix(confusion))
    assert OTHERS in drawn.text
    assert f"Of {MOST + 5} classes the {MOST} weakest." in drawn.text
    few = many(3)
    assert "weakest" not in sound(class_table(few)).text + sound(matrix(few)).text
    assert OTHERS not in matrix(few)


def test_classes_without_pictures_are_counted_and_new_ones_marked() -> None:
    confusion = Confusion.of_names(("a", "b", "c"), {"a": {"a": 3, "c": 1}})
    text = sound(class_table(confusion, new=[0])).text
    assert "No picture shows 2 of the 3 classes." in text
    assert "a new 75 % 4 c 25 %" in text
    assert f"a taken for {OTHERS}: 1 of 4" in sound(matrix(confusion)).text


def test_the_matrix_says_every_count() -> None:
    confusion = many(4)
    text = sound(matrix(confusion)).text
    for label, row in enumerate(confusion.counts.tolist()):
        for other, count in enumerate(row):
            told = f"class {label} taken for class {other}: {count} of {sum(row)}"
            assert told in text


@pytest.mark.parametrize("size", [(300, 20), (20, 300), (5, 5)])
def test_thumbnails_are_small_jpegs(size: tuple[int, int]) -> None:
    uri = thumbnail(Image.new("RGBA", size))
    found = sound(element("img", src=uri))
    assert found.links == [uri]
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert picture.format == "JPEG"
    assert max(picture.size) == min(SIDE, max(size))


def test_a_picture_that_is_gone_is_told() -> None:
    card = MistakeCard(None, thumbnail(noise()), ODD, "b", 0.934, f"{ODD}/1.png", "learned from")
    found = sound(cards([card]))
    assert MISSING in found.text
    assert f"{ODD} shown b taken, 93% {ODD}/1.png (learned from)" in found.text


def test_regions_are_boxes_and_pieces_with_what_is_said() -> None:
    card = card_of(ODD, noise(64), [region((0, 0, 64, 32), ODD), region((8, 8, 20, 20))])
    found = sound(region_card(card))
    assert found.tags.count("rect") == found.tags.count("img") == 2
    assert found.text.count(f"{ODD} 75%") == 2
    assert f"{ODD} w 0.50 teacher {ODD} 75% c 25% student" in found.text


@pytest.mark.parametrize("curve", [[1.0], [2.0, 2.0], [0.5, 0.25, 3.0]])
def test_curves_of_any_length(curve: list[float]) -> None:
    drawn = panels({"cross_entropy": {1: curve, 2: [*reversed(curve)]}}, seed=1)
    found = sound(drawn)
    assert "cross entropy" in found.text
    assert f"{min(curve):.3g}" in found.text
    assert f"epoch {len(curve)}" in found.text
    assert drawn.index('class="other"') < drawn.index('class="chosen"')  # which lies above
    numbers = re.findall(r"[\d.]+ ([\d.]+)", ";".join(re.findall(r'd="M([^"V]*)"', drawn)))
    assert all(0 <= float(y) <= 110 for y in numbers)


def test_a_plot_is_svg_in_the_colours_of_the_page() -> None:
    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([1, 2], [3, 4], "o-", color="C0")
        axes.set_title("a < b")

    drawn = plot(draw, 4, 2, "a title")
    assert drawn == plot(draw, 4, 2, "a title")
    assert "var(--accent)" in drawn
    assert "#000000" not in drawn
    found = sound(drawn)
    assert "a < b" in found.text
    assert "http" not in drawn
    ids, others = (
        set(re.findall(r' id="([^"]*)"', one)) for one in (drawn, plot(draw, 4, 2, "another"))
    )
    assert ids
    assert not ids & others  # two plots on one page do not mix
    assert {link for link in found.links if link.startswith("#")} <= {f"#{one}" for one in ids}


def test_the_page_of_eleven_datasets_is_below_ten_megabytes() -> None:
    thumb = thumbnail(noise())
    card = MistakeCard(thumb, thumb, "a", "b", 0.9, "a/1.png")
    regions = [card_of("a", noise(), [region((0, 0, 200, 200))] * 4)] * 2
    full = DatasetReport(
        lines=["A line."],
        measured={"accuracy": 12.345},
        confusion=many(100),
        mistakes=[card] * 12,
        regions=regions,
        curves={"a": {1: [1.0] * 50}},
        seed=1,
    )
    data = page("eleven", ["a"], [(str(number), dataset_part(full)) for number in range(11)])
    assert len(data) < 10e6
    found = sound(data)
    assert [link for link in found.links if link.startswith("#section")] == [
        f"#section-{number}" for number in range(1, 12)
    ]
    assert f"{12.345:.2f}" in found.text


def test_a_dataset_of_which_nothing_was_measured_is_its_lines() -> None:
    assert sound(dataset_part(DatasetReport(["Nothing."]))).text == "Nothing."
