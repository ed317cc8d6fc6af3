"""Installed weights and words: any damage is named, and nothing is made of them."""

import gzip
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import default_bpe

from fdbpl.clip import small
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from fdbpl.playground import tiny
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256
from fdbpl.system.installed import DIGESTS, read_installed


def installed() -> dict[str, Path]:
    """All files of numbers and words, found by what reads them."""
    ours = [path for at in (small, tiny) for path in at.HERE.iterdir() if path.suffix != ".py"]
    towers = [
        Path(str(resources.files(one) / "models" / file)) for one, file in small.TOWERS.values()
    ]
    found = {path.name: path for path in [*ours, *towers, Path(default_bpe())] if path.is_file()}
    del found["recipe.json"]  # how tiny was made; nothing reads it
    return found


def test_every_file_is_listed_as_it_is() -> None:
    lines = [f"{sha256(path.read_bytes())}  {name}\n" for name, path in sorted(installed().items())]
    assert "".join(lines) == DIGESTS.read_text(), "renew it: sha256sum, sorted by names"


@given(st.data())
def test_any_damage_is_refused(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    whole = tiny.MERGES.read_bytes()
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << bit
    path = tmp_path_factory.mktemp("damaged") / tiny.MERGES.name
    for spoilt in (flipped, whole[:at], whole + b"\0", gzip.compress(b"")):
        path.write_bytes(spoilt)
        with pytest.raises(UserError, match=rf"^{path}: .* Install fdbpl again") as error:
            read_installed(path)
        assert "\n" not in str(error.value)
    path.write_bytes(whole)
    assert read_installed(path) == whole


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"words\.safetensors: No such file.*Install them again\."):
        read_installed(tmp_path / "words.safetensors", "them")


@pytest.mark.parametrize(
    "damaged", ["fdbpl-tiny-student.safetensors", "fdbpl-tiny-teacher.json", "merges.txt.gz"]
)
def test_no_model_loads_with_damaged_words_or_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    for path in tiny.HERE.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(tiny, "HERE", tmp_path)
    monkeypatch.setattr(tiny, "MERGES", tmp_path / tiny.MERGES.name)
    model = ModelParams(architecture="fdbpl-tiny-student", weights="tiny")
    load_model(model, "student")
    whole = (tmp_path / damaged).read_bytes()
    (tmp_path / damaged).write_bytes(whole[:-1] + bytes([whole[-1] ^ 64]))
    with pytest.raises(UserError, match=rf"{damaged}: .*damaged since it was made\. Install"):
        load_model(model, "student")
