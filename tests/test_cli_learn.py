"""`fdbpl learn` by the command line: what is said, and one line for every mistake."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from taught import EACH, NAMES, TINY, Taught

from fdbpl.cli import main
from fdbpl.serving.model_folder import open_model

QUICK = ("--method", "zero_shot,gda")


def learn(*words: str) -> Result:
    return CliRunner().invoke(main, ["learn", *words])


def fails(*words: str) -> str:
    result = learn(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.fixture
def place(tmp_path: Path, class_pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three classes in `pictures`."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES[:3]:
        shutil.copytree(class_pictures / name, tmp_path / "pictures" / name)
    return tmp_path


def test_a_model_is_learned_and_what_it_can_do_is_said(place: Path) -> None:
    result = learn("pictures", "--out", "my model", "--unknown", "pictures", *TINY, *QUICK)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    count = 3 * EACH
    assert lines[0] == (
        f"pictures: 3 classes, {count} pictures to learn from, {count} held out by turns"
    )
    about = open_model(place / "my model").about
    assert about.name == "my model"
    assert about.class_names == list(NAMES[:3])
    assert [line for line in lines if line.endswith("  taken")] == [
        f"  {about.title:<11}  {about.measured['accuracy']:5.1f} %  taken"
    ]
    assert f"{about.measured['low']:.1f} to {about.measured['high']:.1f} %" in result.stdout
    assert lines[-2].endswith(f"of {count} pictures of none of the classes")
    assert lines[-1].endswith("MB. Then: fdbpl predict 'my model' PICTURES")
    assert {path.name for path in place.iterdir()} == {".fdbpl", "my model", "pictures"}
    again = learn("pictures", "--out", "my model", "--unknown", "pictures", *TINY, *QUICK)
    assert "encoded 0, reused" in again.stdout
    assert again.stdout.splitlines()[3:] == lines[3:]


def test_what_is_there_is_not_lost(place: Path, taught: Taught) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "notes.txt").write_text("x")
    said = fails("pictures", "--out", "mine", *TINY)
    assert said.startswith("error: mine: is there, and is no model of fdbpl")
    shutil.copytree(taught.path, place / "model")
    (place / "model" / "notes.txt").write_text("x")
    assert "notes.txt is there beside the model" in fails("pictures", "--out", "model", *TINY)
    assert "no name for a model" in fails("pictures", "--out", ".", *TINY)
    assert not (place / ".fdbpl").exists()  # told before any work


MISTAKES = [
    (("gone",), "gone: no such file or folder, wanted the pictures"),
    (("empty",), "empty: no class folders in it"),
    (("flat",), "no class folders in it"),
    (("pictures/blue crown/00.png",), "wanted a table of the name .csv or .parquet"),
    (("one",), "has one class, 'black arrow', wanted at least 2"),
    (("pictures", "--template", "x"), "template' is 'x', wanted a template with one {}"),
    (("pictures", "--shots", "0"), "--shots is '0', wanted"),
    (("pictures", "--student", "ViT"), "--student is 'ViT', wanted ARCHITECTURE:WEIGHTS"),
    (("pictures", "--student", "ViT:gone.bin"), "ViT"),
    (("pictures", "--teacher", "fdbpl-tiny-teacher:gone"), "fdbpl-tiny-teacher"),
    (("pictures", "--method", "copo"), "'copo'"),
    (("pictures", "--method", "teacher"), "judges what the teacher sees"),
    (("pictures", "--test", "pictures"), "a test beside pictures that have classes"),
    (("flat", "--names", "gone.txt"), "gone.txt: no such file or folder, wanted the names"),
    (("flat", "--names", "names.txt", "--test", "gone"), "gone: no such file or folder, wanted"),
    (("flat", "--names", "names.txt", "--method", "gda"), "gda learns from labels"),
    (("flat", "--names", "none.txt"), "has no class, wanted at least 2"),
    (("flat", "--names", "twice.txt"), "is the same to CLIP as 'owl'"),
    (("letters", "--method", "zero_shot"), "letters"),
]


def test_a_mistake_is_one_line(place: Path) -> None:
    for name in ("empty", "flat", "one", "letters/a", "letters/b"):
        (place / name).mkdir(parents=True)
    shutil.copytree(place / "pictures" / NAMES[0], place / "one" / NAMES[0])
    for number in range(EACH):
        shutil.copy(place / "pictures" / NAMES[0] / f"{number:02}.png", place / "flat")
        (place / "letters" / "ab"[number % 2] / f"{number}.png").write_text("a letter")
    (place / "names.txt").write_text("\n".join(NAMES))
    (place / "none.txt").write_text("\n")
    (place / "twice.txt").write_text("owl\nOwl\n")
    for words, says in MISTAKES:
        first, *more = words
        assert says in fails(first, "--out", "model", *TINY, *more), words
    assert not (place / "model").exists()


@pytest.mark.parametrize(
    "words",
    [(), ("pictures",), ("pictures", "--out", "m", "--crops", "0"),
     ("pictures", "--out", "m", "--unknown", "gone"), ("pictures", "--out", "m", "--seed", "-1"),
     ("pictures", "--out", "m", "--device", "tpu")],
)  # fmt: skip
def test_what_click_refuses(place: Path, words: tuple[str, ...]) -> None:
    result = learn(*words)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


def test_without_unreadable_pictures_of_something_else_nothing_is_written(place: Path) -> None:
    (place / "empty").mkdir()
    result = learn("pictures", "--out", "m", "--unknown", "empty", *TINY, "--method", "zero_shot")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: empty: no picture that can be read. Name a folder that holds some.\n"
    )
    assert not (place / "m").exists()
