"""A project of one's own, with fdbpl installed from a wheel and no clone in sight."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

CLONE = Path(__file__).resolve().parents[1]
DATASETS = ("textures", "icons")
STAGES = ("prepare-crops", "cache-teacher", "train-student", "evaluate")
SMALL = {
    "methods": ["zero_shot", "coop"],
    "seeds": [1],
    "shots": 1,
    "regions": {"per_image": 1},
    "train": {"lr": 0.02, "epochs": 1, "batch": 32},
}

pytestmark = [pytest.mark.slow, pytest.mark.release, pytest.mark.timeout(600)]


def run(*words: str | Path, folder: Path, bin_: Path = Path(sys.executable).parent) -> str:
    """Run a command of the environment `bin_` is of, which knows nothing of the clone."""
    own = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    quiet = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        words,
        cwd=folder,
        env={**own, **quiet, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Project:
    """A project, and an environment whose fdbpl is the wheel's and the rest this one's."""

    def __init__(self, folder: Path):
        wheel = _wheel(folder)
        environment = folder / "environment"
        run(sys.executable, "-m", "venv", "--without-pip", environment, folder=folder)
        words = ("install", "-q", "--no-deps", "--no-index", wheel)
        python = environment / "bin" / "python"
        run(sys.executable, "-m", "pip", "--python", python, *words, folder=folder)
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.installed = Path(run(python, "-c", code, folder=folder).strip())
        # a plain path comes after the environment's own, and its .pth files are not read: so no
        # editable fdbpl of this environment is found
        (self.installed / "others.pth").write_text(sysconfig.get_path("purelib"))
        self.bin = environment / "bin"
        self.folder = folder / "project"
        run(self.bin / "fdbpl", "init", "project", "--only", ",".join(DATASETS), folder=folder)
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | SMALL))

    def run(self, *words: str) -> str:
        return run(self.bin / words[0], *words[1:], folder=self.folder, bin_=self.bin)

    def repro(self) -> set[str]:
        """Bring everything up to date; return the stages that ran."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("python", "-m", "dvc", "repro")))

    def change(self, module: str) -> None:
        """Stand in for a new version of the package, in which one module changed."""
        with (self.installed / module).open("a") as file:
            file.write("\n_NEW = True\n")


def _wheel(folder: Path) -> Path:
    """Build the wheel from a copy, since building leaves files behind."""
    words = ("git", "ls-files", "-z")
    tracked = subprocess.run(words, cwd=CLONE, check=True, capture_output=True).stdout.decode()
    (folder / "source").mkdir()
    copied = [name for name in tracked.strip("\0").split("\0") if (CLONE / name).is_file()]
    run("cp", "--parents", "-t", folder / "source", *copied, folder=CLONE)
    options = ("--no-deps", "--no-build-isolation", "-q", "-w", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, ".", folder=folder / "source")
    return next(folder.glob("fdbpl-*.whl"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("wheel"))
    try:
        yield made
    finally:
        made.run("fdbpl", "down")


def test_a_project_runs_and_reruns_what_a_new_version_changes(project: Project) -> None:
    code = "import fdbpl, flows; print(fdbpl.__file__, flows.__file__)"
    for found in project.run("python", "-c", code).split():
        assert Path(found).is_relative_to(project.installed)

    said = project.run("python", "-m", "flows.lanes")
    of_datasets = {f"{stage}@{name}" for stage in STAGES for name in DATASETS}
    ran = set(re.findall(r"Running stage '([^']+)'", said))
    assert ran == {"code", "compare", "ood"} | of_datasets
    assert project.repro() == {"code"}

    project.change("fdbpl/reporting/few_shot.py")
    assert project.repro() == {"code", "compare"}
    assert project.repro() == {"code"}
    assert "2 of 2 plans are made" in project.run("fdbpl", "estimate")


def test_a_deployment_runs_in_a_project(project: Project) -> None:
    """It finds what a new version changed, as dvc repro does, and MLflow shows every result."""
    project.run("fdbpl", "up", "--prefect-port", "14300", "--mlflow-port", "15100")
    project.change("fdbpl/stages/evaluate.py")
    compared = project.folder / "metrics" / "compare.json"
    evaluated = [project.folder / "metrics" / "datasets" / f"{name}.json" for name in DATASETS]
    before = [path.stat().st_mtime_ns for path in (compared, *evaluated)]
    words = ("python", "-m", "prefect", "deployment", "run", "benchmark/playground", "--watch")
    project.run(*words)
    after = [path.stat().st_mtime_ns for path in (compared, *evaluated)]
    assert [new > old for old, new in zip(before, after, strict=True)] == [False, True, True]
    assert list(json.loads(project.run("python", "-m", "dvc", "status", "--json"))) == ["code"]
    assert "0 runs written" in project.run("fdbpl", "record")
