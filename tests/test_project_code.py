"""Which code makes which stages stale in a project: those that the clone's dvc.yaml says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl import __version__
from fdbpl.settings.project.code import COMMAND, digest, write_code
from fdbpl.settings.project.project import project_files
from flows.code import bring_code_up_to_date

CLONE = Path(__file__).resolve().parents[1]
STAGES = yaml.safe_load((CLONE / "dvc.yaml").read_text())["stages"]
PACKAGE = sorted(
    path.relative_to(CLONE).as_posix()
    for path in (CLONE / "fdbpl").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)


def naming(path: str) -> list[str]:
    """The stages that depend on a file of the package, as the clone's dvc.yaml says."""
    return [
        name
        for name, stage in STAGES.items()
        if any(path == dep or path.startswith(f"{dep}/") for dep in stage["deps"])
    ]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project whose code is written, and the folder of a package like the installed one."""
    folder = tmp_path_factory.mktemp("version")
    for path in PACKAGE:
        place = folder / "installed" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.suffix == ".safetensors":  # megabytes, which only take time
            place.write_text(place.name)
        else:
            shutil.copyfile(CLONE / path, place)
    (folder / "project").mkdir()
    assert write_code(folder / "project", folder / "installed") == list(STAGES)
    return folder / "project", folder / "installed"


@settings(max_examples=60)
@given(st.sampled_from(PACKAGE))
def test_a_changed_file_makes_exactly_the_stages_stale_that_name_it(
    version: tuple[Path, Path], path: str
) -> None:
    project, installed = version
    before = (installed / path).read_bytes()
    (installed / path).write_bytes(before + b"\n# changed\n")
    try:
        assert write_code(project, installed) == naming(path)
        assert write_code(project, installed) == []
    finally:
        (installed / path).write_bytes(before)
        assert write_code(project, installed) == naming(path)


def test_a_new_a_renamed_and_a_removed_file_make_the_same_stages_stale(
    version: tuple[Path, Path],
) -> None:
    project, installed = version
    stale = naming("fdbpl/reporting/new.py")
    assert stale == ["compare"]
    new = installed / "fdbpl" / "reporting" / "new.py"
    new.write_text("x = 1\n")
    assert write_code(project, installed) == stale
    new = new.rename(new.with_name("other.py"))
    assert write_code(project, installed) == stale
    new.unlink()
    assert write_code(project, installed) == stale


def test_what_python_writes_beside_its_modules_makes_nothing_stale(
    version: tuple[Path, Path],
) -> None:
    project, installed = version
    cached = installed / "fdbpl" / "cache" / "__pycache__" / "build.cpython-311.pyc"
    cached.parent.mkdir()
    cached.write_bytes(b"\0")
    assert write_code(project, installed) == []


def test_what_did_not_change_is_not_written_again(version: tuple[Path, Path]) -> None:
    project, installed = version
    old = (project / "code" / "ood.txt").stat()
    (project / "code" / "compare.txt").unlink()
    assert write_code(project, installed) == ["compare"]
    new = (project / "code" / "ood.txt").stat()
    assert (new.st_ino, new.st_mtime_ns) == (old.st_ino, old.st_mtime_ns)


def test_a_stages_file_names_each_place_with_its_digest(version: tuple[Path, Path]) -> None:
    project, installed = version
    for name, stage in STAGES.items():
        lines = (project / "code" / f"{name}.txt").read_text().splitlines()
        places = [dep for dep in stage["deps"] if dep.startswith("fdbpl/")]
        assert lines == [f"{digest(installed / place)}  {place}" for place in places]


def test_a_place_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "gone")


def test_a_clone_gets_no_digests_and_a_project_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bring_code_up_to_date()  # DVC says by itself that there is no dvc.yaml
    shutil.copyfile(CLONE / "dvc.yaml", "dvc.yaml")
    bring_code_up_to_date()
    assert [path.name for path in tmp_path.iterdir()] == ["dvc.yaml"]
    Path("dvc.yaml").write_text(project_files("")["dvc.yaml"])
    bring_code_up_to_date()
    found = sorted(path.name for path in Path("code").iterdir())
    assert found == sorted(f"{name}.txt" for name in STAGES)


def test_the_command_says_where_stages_are_of_another_version(tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *COMMAND.split()[1:]],
            cwd=tmp_path,
            env={"PYTHONPATH": str(CLONE)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: dvc.yaml: No such file")
    text = project_files("")["dvc.yaml"]
    (tmp_path / "dvc.yaml").write_text(text)
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "dvc.yaml").write_text(text.replace("flows.stage ood", "flows.stage ood --old"))
    done = run()
    assert done.returncode == 0
    assert done.stdout.startswith(f"dvc.yaml: fdbpl {__version__} defines otherwise: ood. If")
