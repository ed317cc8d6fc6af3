"""fdbpl data check: what it prints, and its exit codes."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import draw_folder, draw_image
from layouts import draw_layout

from fdbpl.cli import main

MODEL = {"architecture": "ViT-B-32", "weights": "openai"}


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["data", "check", *words])


def write_params(path: Path, **data: object) -> None:
    raw = {"datasets": ["mine"], "methods": ["coop"], "student": MODEL, "teacher": MODEL}
    path.write_text(yaml.safe_dump({**raw, "data": data}))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_sound_folder_of_ones_own(tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", {"ant": (16, 1), "bee": (16, 1)})
    write_params(tmp_path / "params.yaml", own={"mine": {"folder": "photos"}})
    result = run("mine")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("mine: photos\n")
    assert result.stdout.endswith("no problem found\n")
    assert result.stderr == ""


def test_every_fault_of_a_broken_folder_is_named(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", {"ant": (17, 2), "bee": (17, 2), "cat": (3, 1)})
    (photos / "train/ant/00.png").write_bytes(b"")
    (photos / "test/bee/00.png").write_bytes((photos / "train/bee/00.png").read_bytes()[:99])
    shutil.copy(photos / "train/ant/03.png", photos / "test/ant/03.png")
    (photos / "test/cat/00.png").unlink()
    (photos / "train/cat/IMG_1.HEIC").write_bytes(b"x")
    write_params(tmp_path / "other.yaml", own={"mine": {"folder": str(photos)}})
    result = run("mine", "--params", "other.yaml")
    assert result.exit_code == 1
    said = result.stdout
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
    result = run("imagenet-rendition", "--root", "disk")
    assert result.exit_code == 1
    assert "  classes                   3         200\n" in result.stdout
    assert "  test images               6      30,000\n" in result.stdout
    assert "counts other than published: 2\n" in result.stdout


def test_an_image_that_a_list_names_and_nobody_has(tmp_path: Path) -> None:
    draw_layout("fgvc_aircraft", tmp_path / "data")
    (tmp_path / "data/fgvc_aircraft/images/0034310.jpg").unlink()
    assert "images missing: 1\n  0034310.jpg\n" in run("fgvc_aircraft").stdout


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
def test_what_cannot_be_read_is_one_line(words, says: str, tmp_path: Path) -> None:
    write_params(tmp_path / "own.yaml", own={"mine": {"folder": "photos"}})
    write_params(tmp_path / "words.yaml", vocabulary="wrods.txt")
    drawn = {"datasets": ["dishes"], "methods": ["coop"], "student": MODEL, "teacher": MODEL}
    (tmp_path / "picks.yaml").write_text(
        yaml.safe_dump({**drawn, "data": {"picks": {"dishes": "gone.csv"}}})
    )
    result = run(*words)
    assert not (tmp_path / "nope").exists()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_images_without_classes(tmp_path: Path) -> None:
    for index in range(3):
        draw_image(tmp_path / "photos" / f"{index}.png", index)
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    own = {"mine": {"images": "photos", "names": "names.txt"}}
    write_params(tmp_path / "params.yaml", own=own)
    result = run("mine")
    assert result.exit_code == 0, result.output
    assert "training images without class" in result.stdout


def test_real_photographs(real: Path) -> None:
    result = run("dtd", "--root", str(real))
    assert result.exit_code == 1  # they are a part of the dataset, and say so
    assert "counts other than published: 7\n" in result.stdout
    assert "images" not in result.stdout.split("and 4 more")[1]
