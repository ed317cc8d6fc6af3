"""fdbpl data check: what it prints, and its exit codes."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from conftest import draw_folder, draw_image
from layouts import draw_layout

from fdbpl.cli import main

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
