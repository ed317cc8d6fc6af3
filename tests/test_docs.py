"""What the documentation says of keys, options and constants is what the code has."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from fdbpl.data.params import OwnDataset
from fdbpl.methods.options import PRESETS, FdbplOptions
from fdbpl.settings.params import Params

DOCS = Path(__file__).parents[1] / "docs"


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """The cells of each line of the table that starts with `heading`, by its first cell."""
    text = (DOCS / page).read_text(encoding="utf-8").replace(r"\|", "/")
    table = text[text.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {first: rest for first, *rest in cells}


def keys(section: type[BaseModel], above: str = "") -> Iterator[str]:
    """The dotted keys of a section, down to those that hold values."""
    for name, field in section.model_fields.items():
        inner = next(
            (
                kind
                for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not OwnDataset
            ),
            None,
        )
        if inner is None:
            yield above + name
        else:
            yield from keys(inner, f"{above}{name}.")


def test_every_key_of_the_parameters_is_explained() -> None:
    text = " ".join(rows("parameters.md", "key"))
    assert {key for key in keys(Params) if f"`{key}" not in text} == set()
    own = " ".join([text, *rows("parameters.md", "key")["`data.own.<name>`"]])
    assert {name for name in OwnDataset.model_fields if f"{name}`" not in own} == set()


def test_every_option_stands_with_its_values_and_what_the_presets_set() -> None:
    table = rows("methods.md", "option")
    assert list(table) == [f"`{name}`" for name in FdbplOptions.model_fields]
    for name, field in FdbplOptions.model_fields.items():
        values, *presets, _ = table[f"`{name}`"]
        for preset, cell in zip(("paper", "fdbpl"), presets, strict=True):
            value = getattr(PRESETS[preset], name)
            assert cell == f"`{'null' if value is None else value}`", name
        words = getattr(field.annotation, "__args__", ())
        if all(isinstance(word, str) for word in words) and words:
            assert values == ", ".join(f"`{word}`" for word in words), name
