"""fdbpl data check: what it prints, and its exit codes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from conftest import draw_folder, draw_image
from layouts import draw_layout

from fdbpl.cli import main

ROOT = Path(__file__).parents[1]
MODEL = {"architecture": "ViT-B-32", "weights": "openai"}


def run(*words: str, code: int = 0) -> str:
    """What the command says; of a mistake (2) the one line of its error."""
    result = CliRunner().invoke(main, ["data", "check", *words])
    assert result.exit_code == code, result.output
    if code == 2:
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        return result.stderr
    assert result.stderr == ""
    return result.stdout


def write_params(name: str, dataset: str = "mine", **data: object) -> None:
    raw = {"datasets": [dataset], "methods": ["coop"], "student": MODEL, "teacher": MODEL}
    Path(name).write_text(yaml.safe_dump({**raw, "data": data}))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_sound_folder_of_ones_own(tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", {"ant": (16, 1), "bee": (16, 1)})
    write_params("params.yaml", own={"mine": {"folder": "photos"}})
    said = run("mine")
    assert said.startswith("mine: photos\n")
    assert said.endswith("no problem found\n")


def test_every_fault_of_a_broken_folder_is_named(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", {"ant": (17, 2), "bee": (17, 2), "cat": (3, 1)})
    (photos / "train/ant/00.png").write_bytes(b"")
    (photos / "test/bee/00.png").write_bytes((photos / "train/bee/00.png").read_bytes()[:99])
    shutil.copy(photos / "train/ant/03.png", photos / "test/ant/03.png")
    (photos / "test/cat/00.png").unlink()
    (photos / "train/cat/IMG_1.HEIC").write_bytes(b"x")
    write_params("other.yaml", own={"mine": {"folder": str(photos)}})
    said = run("mine", "--params", "other.yaml", code=1)
    for line in (
        "files that are no images: 1 .heic",
        "images that do not decode: 2",
        "test images that are training images too: 1",
        "  test/ant/03.png is train/ant/03.png",
        "classes with fewer than 16 training images: 1",
        "  cat: 3",
        "classes without a test image: 1",
        "  cat",
        "problems found",
    ):
        assert f"{line}\n" in said
    assert "  train/ant/00.png: cannot be decoded (0 bytes, an empty file)" in said


def test_a_published_dataset_needs_no_params(tmp_path: Path) -> None:
    draw_layout("imagenet-rendition", tmp_path / "disk")
    said = run("imagenet-rendition", "--root", "disk", code=1)
    assert "  classes                   3         200\n" in said
    assert "  test images               6      30,000\n" in said
    assert "counts other than published: 2\n" in said


def test_an_image_that_a_list_names_and_nobody_has(tmp_path: Path) -> None:
    draw_layout("fgvc_aircraft", tmp_path / "data")
    (tmp_path / "data/fgvc_aircraft/images/0034310.jpg").unlink()
    assert "images missing: 1\n  0034310.jpg\n" in run("fgvc_aircraft", code=1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nonsense",), "dataset 'nonsense' is unknown"),
        (("dtd",), "dtd: no such folder"),
        (("dtd", "--params", "gone.yaml"), "gone.yaml: no such file"),
        (("mine", "--params", "own.yaml", "--root", "x"), "--root is 'x', but 'mine' lies where"),
        (("mine", "--params", "own.yaml"), "photos: no such folder"),
        (("dishes", "--root", "nope"), "--root is 'nope': no such folder"),
        (("dishes", "--params", "words.yaml"), "wrods.txt: No such file"),
        (("dishes", "--params", "picks.yaml"), "gone.csv: No such file"),
    ],
)
def test_what_cannot_be_read_is_one_line(words, says: str) -> None:
    write_params("own.yaml", own={"mine": {"folder": "photos"}})
    write_params("words.yaml", vocabulary="wrods.txt")
    write_params("picks.yaml", "dishes", picks={"dishes": "gone.csv"})
    assert says in run(*words, code=2)
    assert not Path("nope").exists()


def test_images_without_classes(tmp_path: Path) -> None:
    for index in range(3):
        draw_image(tmp_path / "photos" / f"{index}.png", index)
    Path("names.txt").write_text("ant\nbee\n")
    write_params("params.yaml", own={"mine": {"images": "photos", "names": "names.txt"}})
    assert "training images without class" in run("mine")


def test_real_photographs(real: Path) -> None:
    said = run("dtd", "--root", str(real), code=1)  # they are a part of the dataset, and say so
    assert "counts other than published: 7\n" in said
    assert "images" not in said.split("and 4 more")[1]


def test_a_class_needs_the_parameters_shots_and_all_that_is_wrong_is_named(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", {"ant": (9, 2), "bee": (3, 2)})
    for number in range(5):
        (photos / f"train/ant/{number:02}.png").write_bytes(b"")
    raw = {"datasets": ["mine"], "methods": ["coop"], "student": MODEL, "teacher": MODEL}
    raw["data"] = {"own": {"mine": {"folder": "photos"}}}
    for shots, few in ((2, ()), ([1, 4], ("bee",)), (5, ("ant", "bee")), ("all", ())):
        Path("params.yaml").write_text(yaml.safe_dump({**raw, "shots": shots}))
        said = run("mine", code=1)
        assert [name for name in ("ant", "bee") if f"  {name}: " in said] == list(few), shots
        assert ("fewer than" in said) == bool(few)
        assert "  and 2 more (--all names them)\n" in said
        whole = run("mine", "--all", code=1)
        assert whole.count("cannot be decoded") == 5
        assert "more (--all" not in whole


def test_a_mistake_names_the_parameters_that_were_given() -> None:
    for name, says in (("other.yaml", " The parameters are other.yaml.\n"), ("params.yaml", "")):
        write_params(name, own={"mine": {"folder": "gone"}})
        said = run("mine", "--params", name, code=2)
        assert said.startswith("error: gone: no such folder. Correct data.own.mine.folder.")
        assert said.endswith(says)
        assert ("The parameters" in said) == bool(says)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_terminal_without_some_letters_shows_the_rest(tmp_path: Path, encoding: str) -> None:
    draw_folder(tmp_path / "photos", {"海岸": (2, 1), "bee": (2, 1)})
    write_params("params.yaml", own={"mine": {"folder": "photos"}})
    done = subprocess.run(
        [sys.executable, "-m", "fdbpl", "data", "check", "mine"],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    name = "海岸" if encoding == "utf-8" else r"\u6d77\u5cb8"
    assert f"  {name}: 2\n" in done.stdout.decode(encoding)


def test_a_home_is_found_wherever_a_path_stands(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    draw_folder(tmp_path / "home/photos", {"ant": (16, 1), "bee": (16, 1)})
    draw_layout("imagenet-rendition", tmp_path / "home/disk")
    write_params("home/own.yaml", own={"mine": {"folder": "~/photos"}})
    assert run("mine", "--params", "~/own.yaml").endswith("no problem found\n")
    assert "classes" in run("imagenet-rendition", "--root", "~/disk", code=1)
    assert not Path("~").exists()
