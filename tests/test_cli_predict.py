"""`fdbpl predict` by the command line: lines, exit codes, and one line for every mistake."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from student_models import NAMES
from taught import NAMES as LEARNED
from taught import Taught

from fdbpl.cli import main
from fdbpl.serving.formats import MAYBE, NONE
from fdbpl.serving.predictor import load_predictor
from fdbpl.serving.stream import Answer, answers


def predict(*words: object, **given: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)], **given)


def fails(*words: object) -> str:
    result = predict(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def wanted(model_path: Path, snapshots: Path) -> list[Answer]:
    paths = sorted(map(str, snapshots.iterdir()))
    return list(answers(load_predictor(model_path, 1), paths, threads=1, top=len(NAMES)))


def test_a_table_by_default(model_path: Path, snapshots: Path, wanted) -> None:
    result = predict(model_path, snapshots)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == len(wanted)
    for line, one in zip(lines, wanted, strict=True):
        assert line.startswith(f"{one.path}: {one.prediction.top[0][0]} ")
        assert line.count("%") == 3
        assert line.endswith(f" ({MAYBE})") is not one.prediction.known
    said = predict(model_path, snapshots, "--none", "--top", "1", "--keep", "90").stdout
    for line, one in zip(said.splitlines(), wanted, strict=True):
        assert (f"{one.path}: {NONE} (" in line) is (one.prediction.score < 30)
        assert line.count("%") == 1


def test_json_lines(model_path: Path, snapshots: Path, wanted) -> None:
    result = predict(model_path, snapshots, "--json", "--top", "99", "--keep", "99")
    for line, one in zip(result.stdout.splitlines(), wanted, strict=True):
        found = json.loads(line)
        assert list(found) == ["path", "top", "score", "known"]
        assert found["path"] == one.path
        assert dict(found["top"]) == pytest.approx(dict(one.prediction.top), abs=1e-4)
        assert found["known"] is True


def test_csv(model_path: Path, snapshots: Path, wanted) -> None:
    text = predict(model_path, snapshots, "--csv", "--top", "99").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(wanted)
    assert len(rows[0]) == 1 + 2 * len(NAMES) + 3
    for row, one in zip(rows, wanted, strict=True):
        assert row["path"] == one.path
        assert row["class_1"] == one.prediction.top[0][0]
        assert row["known"] == str(one.prediction.known).lower()


def test_paths_on_standard_input(model_path: Path, snapshots: Path, wanted, tmp_path) -> None:
    odd = tmp_path / os.fsdecode(b'\xff, "x".png')
    shutil.copy(wanted[0].path, odd)
    listed = b"\n".join([os.fsencode(wanted[1].path), b"", os.fsencode(odd), b""])
    for words in ((), ("--json",), ("--csv",)):
        result = predict(model_path, "-", wanted[2].path, *words, input=listed)
        assert result.exit_code == 0, result.output
        assert len(result.stdout.splitlines()) == 3 + ("--csv" in words)
    data = predict(model_path, "-", "--json", input=listed).stdout_bytes
    found = [json.loads(line)["path"] for line in data.decode("utf-8").splitlines()]
    assert found == [wanted[1].path, str(odd)]
    data = predict(model_path, "-", input=listed).stdout_bytes
    assert data.splitlines()[1].startswith(os.fsencode(odd) + b": ")


def test_what_cannot_be_read_stops_nothing_and_is_told_by_the_exit_code(
    model_path: Path, wanted, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("x")
    odd = tmp_path / os.fsdecode(b"\xff\n.png")
    odd.touch()
    paths = [tmp_path / "text.png", wanted[0].path, tmp_path / "gone.png", wanted[1].path, odd]
    for words in ((), ("--json",), ("--csv",)):
        result = predict(model_path, *paths, *words)
        assert result.exit_code == 1
        assert result.stderr == "3 of 5 pictures could not be read\n"
        assert result.stdout.count("cannot be") == 3
    lines = predict(model_path, *paths, "--json").stdout.splitlines()
    assert [list(json.loads(line)) for line in lines] == [
        ["path", "error"], ["path", "top", "score", "known"], ["path", "error"],
        ["path", "top", "score", "known"], ["path", "error"],
    ]  # fmt: skip
    assert len(predict(model_path, *paths).stdout_bytes.splitlines()) == 5


def test_mistakes_are_one_line(model_path: Path, snapshots: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "gone: no model of fdbpl" in fails(tmp_path / "gone", snapshots)
    assert "no model of fdbpl" in fails(snapshots, snapshots)
    assert "empty: no picture. Name pictures" in fails(model_path, tmp_path / "empty")
    assert predict(model_path, "-", input="").stderr.startswith("error: -: no picture")
    for name in ("tower.onnx", "model.json", "classifier.safetensors"):
        damaged = Path(shutil.copytree(model_path, tmp_path / f"damaged {name}"))
        data = bytearray((damaged / name).read_bytes())
        data[len(data) // 2] ^= 1
        (damaged / name).write_bytes(data)
        assert f"{name}: damaged" in fails(damaged, snapshots)
        (damaged / name).unlink()
        assert "no " in fails(damaged, snapshots)
    (tmp_path / "names.txt").write_text("owl\nbee\n")
    (tmp_path / "one.txt").write_text("owl\n")
    (tmp_path / "latin.txt").write_bytes(b"\xe9\n\xea\n")
    for words, says in (
        (("--classes", tmp_path / "gone.txt"), "gone.txt: No such file"),
        (("--classes", tmp_path / "latin.txt"), "latin.txt"),
        (("--classes", tmp_path / "one.txt"), "class names: owl; wanted two at least"),
        (("--classes", tmp_path / "names.txt"), "Give it by --student test-"),
        (("--student", "ViT"), "--student is 'ViT', wanted ARCHITECTURE:WEIGHTS"),
        (("--teacher", "ViT"), "--teacher is 'ViT', wanted ARCHITECTURE:WEIGHTS"),
        (("--classes", tmp_path / "names.txt", "--student", "ViT-B-32:gone"), "gone"),
    ):
        assert says in fails(model_path, snapshots, *words), words


@pytest.mark.parametrize(
    "words", [("--top", "0"), ("--keep", "50"), ("--threads", "0"), ("--classes", "/")]
)
def test_what_click_refuses(model_path: Path, words: tuple[str, ...]) -> None:
    result = predict(model_path, "x.png", *words)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert predict(model_path).exit_code == predict().exit_code == 2


def test_other_class_names(taught: Taught, class_pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(f"red star\n\n{LEARNED[3]}\n{LEARNED[0]}\n")
    picture = class_pictures / LEARNED[3] / "00.png"
    result = predict(taught.path, picture, "--classes", tmp_path / "names.txt", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {name for name, _ in found["top"]} == {"red star", LEARNED[3], LEARNED[0]}
    assert found["known"] is None


def test_as_a_program_of_its_own_with_a_reader_that_stops(model_path, snapshots) -> None:
    words = [sys.executable, "-m", "fdbpl", "predict", str(model_path), "-", "--json"]
    listed = f"{snapshots}\n" * 40
    running = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdin is not None
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdin.write(listed)
    running.stdin.close()
    assert list(json.loads(running.stdout.readline())) == ["path", "top", "score", "known"]
    running.stdout.close()
    assert running.wait(60) == 1
    assert running.stderr.read() == ""
    running.stderr.close()
