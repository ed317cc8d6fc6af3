import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.data.names import require_distinct, spoken
from fdbpl.system.errors import UserError


@given(st.text(max_size=12))
def test_spoken_names_are_single_spaced_and_stay_as_they_are(name: str) -> None:
    said = spoken(name)
    assert "_" not in said
    assert said == " ".join(said.split())
    assert spoken(said) == said


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


@given(st.text(max_size=12))
def test_the_spelling_of_accents_does_not_matter(name: str) -> None:
    assert spoken(unicodedata.normalize("NFD", name)) == spoken(name)


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
