"""Model folders: what was written is read, and nothing else."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from student_models import about

from fdbpl.serving import model_folder
from fdbpl.serving.model_folder import ABOUT, CARD, TOWER, open_model, require_place, write_model
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, readable_json, sha256

FILES = {TOWER: b"graph" * 20, "classifier.safetensors": b"\0\xff", CARD: "# crème\n".encode()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "birds"
    write_model(path, about(), FILES)
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def content(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.iterdir()}


def test_what_was_written_is_read(folder: Path) -> None:
    found = open_model(folder)
    assert found.about == about()
    assert {name: found.read(name) for name in found.files} == FILES
    assert set(content(folder)) == {ABOUT, *FILES}


def test_equal_models_are_equal_bytes_in_whatever_order_files_come(folder: Path, tmp_path) -> None:
    write_model(tmp_path / "again", about(), dict(reversed(FILES.items())))
    assert content(tmp_path / "again") == content(folder)


@settings(max_examples=300)
@given(data=st.data())
def test_any_byte_changed_in_any_file_is_refused_and_the_file_named(folder: Path, data) -> None:
    name = data.draw(st.sampled_from(sorted(content(folder))))
    path = folder / name
    sound = path.read_bytes()
    place = data.draw(st.integers(0, len(sound) - 1))
    changed = bytearray(sound)
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(changed)
        with pytest.raises(UserError) as told:
            open_model(folder)
    finally:
        path.write_bytes(sound)
    assert str(told.value).startswith(f"{path}: ")
    assert open_model(folder).about == about()


@settings(max_examples=100)
@given(data=st.data())
def test_a_file_cut_or_longer_is_refused(folder: Path, data) -> None:
    path = folder / data.draw(st.sampled_from(sorted(content(folder))))
    sound = path.read_bytes()
    cut = data.draw(st.integers(0, len(sound) - 1))
    try:
        for damaged in (sound[:cut], sound + b"\n", b"\xef\xbb\xbf" + sound):
            path.write_bytes(damaged)
            with pytest.raises(UserError, match=path.name):
                open_model(folder)
    finally:
        path.write_bytes(sound)


def test_a_number_that_became_endless_is_refused(copied: Path) -> None:
    text = (copied / ABOUT).read_text()
    assert "72.222" in text
    (copied / ABOUT).write_text(text.replace("72.222", "72e222"))
    for much in ("72e2222", "NaN", "-Infinity"):
        (copied / ABOUT).write_text(text.replace("72.222", much))
        with pytest.raises(UserError, match="damaged or edited"):
            open_model(copied)


@pytest.mark.parametrize("text", ["", "[]", "null", '"text"', "{}", "3", "[" * 99, "\xff"])
def test_a_file_that_is_no_model_is_refused(copied: Path, text: str) -> None:
    (copied / ABOUT).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"model.json: (damaged|format None)"):
        open_model(copied)


def edited(path: Path, change: Callable[[dict], object]) -> None:
    """Change `model.json` as somebody would who knows how to make its digest right again."""
    told = json.loads((path / ABOUT).read_bytes())
    del told["digest"]
    change(told)
    (path / ABOUT).write_bytes(readable_json({**told, "digest": sha256(canonical_json(told))}))


@pytest.mark.parametrize("key", sorted(about().model_dump()))
def test_a_key_missing_is_named(copied: Path, key: str) -> None:
    has_default = key in ("precision",)
    edited(copied, lambda told: told.pop(key))
    if has_default:
        assert open_model(copied).about == about()
    else:
        with pytest.raises(UserError, match="damaged" if key == "format" else f"json: {key} is"):
            open_model(copied)


def test_pipes_and_names_that_a_terminal_would_obey_are_refused(copied: Path) -> None:
    edited(copied, lambda told: told.update(class_names=["owl", "\x1b[2Jcat"]))
    with pytest.raises(UserError, match=r"model.json: class_names is not as"):
        open_model(copied)
    edited(copied, lambda told: told.update(class_names=about().class_names))
    for name in (TOWER, ABOUT):
        (copied / name).unlink()
        os.mkfifo(copied / name)
        with pytest.raises(UserError, match=rf"{name}: a folder or device, wanted a file"):
            open_model(copied)


def test_a_key_too_many_and_a_wrong_value_are_named(copied: Path) -> None:
    for change in ({"more": 1}, {"temperature": 0}, {"class_names": ["owl"]}, {"template": 3}):
        edited(copied, lambda told, change=change: told.update(change))
        with pytest.raises(UserError, match=rf"model.json: {next(iter(change))}[\w.]* is not"):
            open_model(copied)
        edited(copied, lambda told: told.pop("more", None))
        edited(copied, lambda told: told.update(about().model_dump(mode="json")))
    assert open_model(copied).about == about()


def test_another_format_is_named(copied: Path) -> None:
    edited(copied, lambda told: told.update(format=2))
    with pytest.raises(UserError, match=r"model.json: format 2, wanted 1\. Another version"):
        open_model(copied)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(UserError, match=f"{name}: no such file, and the model needs it"):
        open_model(copied)


def test_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "gone", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"no model of fdbpl: no model\.json in it"):
            open_model(path)


def test_what_a_model_does_not_name_is_no_part_of_it(copied: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    found = open_model(copied)
    with pytest.raises(UserError, match="wanted none"):
        found.read("notes.txt")


def test_another_model_is_replaced_whole(copied: Path) -> None:
    write_model(copied, about(name="bees"), {TOWER: b"other"})
    assert set(content(copied)) == {ABOUT, TOWER}
    assert open_model(copied).about.name == "bees"
    assert [one.name for one in copied.parent.iterdir()] == [copied.name]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("notes.txt", "mine"),
        (".hidden", ""),
        (ABOUT, "{}"),
        (ABOUT, "[]"),
        (ABOUT, "damaged"),
        (ABOUT, '{"format": "layers-model", "files": {}}'),
    ],
)
def test_nothing_else_is_replaced(tmp_path: Path, file: str, text: str) -> None:
    """`model.json` is what many programs call their model."""
    place = tmp_path / "place"
    place.mkdir()
    require_place(place)
    (place / file).write_text(text)
    with pytest.raises(UserError, match="is there, and is no model of fdbpl"):
        write_model(place, about(), FILES)
    assert content(place) == {file: text.encode()}


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "place").write_text("mine")
    with pytest.raises(UserError, match="is there, and is no model"):
        write_model(tmp_path / "place", about(), FILES)


@pytest.mark.parametrize("stray", ["notes.txt", ".git"])
def test_what_was_put_beside_a_model_is_not_lost_with_it(copied: Path, stray: str) -> None:
    (copied / stray).mkdir()
    with pytest.raises(UserError, match=rf"{stray} is there beside the model, and would be lost"):
        write_model(copied, about(name="bees"), FILES)
    assert open_model(copied).about == about()


@pytest.mark.parametrize("path", [".", "..", "a/..", "/", ""])
def test_a_place_without_a_name_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="no name for a model"):
        require_place(Path(path))


@pytest.mark.parametrize("at", range(len(FILES) + 1))
def test_a_crash_while_writing_leaves_the_former_model(copied: Path, monkeypatch, at: int) -> None:
    before, left = content(copied), [at]
    whole = Path.write_bytes

    def failing(path: Path, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        return whole(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OSError, match="No space") as told:
        write_model(copied, about(name="bees"), FILES)
    assert told.value.filename == str(copied)
    monkeypatch.undo()
    assert content(copied) == before
    assert [one.name for one in copied.parent.iterdir()] == [copied.name]


def test_names_are_those_that_the_documentation_says() -> None:
    for name in (ABOUT, TOWER, model_folder.CLASSIFIER, model_folder.PROMPTS, CARD):
        assert name in str(model_folder.__doc__)
