"""The whole pipeline under DVC, in a clone of the project, on two small drawn datasets."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from s3 import S3

PROJECT = Path(__file__).resolve().parents[1]
STAGES = ("prepare-crops", "cache-teacher", "train-student", "evaluate")
OVER_ALL = ("compare", "ood")

pytestmark = pytest.mark.slow

ANY_CHANGE = {"parameters", *OVER_ALL}
"""What runs whatever parameter is another."""


class Clone:
    """A copy of the project's files as a repository of its own, with small parameters."""

    def __init__(self, folder: Path):
        self.folder = folder
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        tracked = subprocess.run(
            ["git", "ls-files", "-z"], cwd=PROJECT, check=True, capture_output=True
        ).stdout
        subprocess.run(
            ["cp", "--parents", "-t", str(folder), *tracked.decode().strip("\0").split("\0")],
            cwd=PROJECT,
            check=True,
        )
        self.change(
            datasets=["textures", "icons"], methods=["zero_shot", "teacher", "coop", "fdbpl"]
        )
        self.change(seeds=[1, 2], shots=2, train={"epochs": 2})
        self.change(regions={"per_image": 2}, source="textures", shifted=[])

    def change(self, **changes: object) -> None:
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            if isinstance(value, dict):
                params.setdefault(key, {}).update(value)
            else:
                params[key] = value
        path.write_text(yaml.safe_dump(params))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def repro(self) -> set[str]:
        """Bring everything up to date; return the stages that ran."""
        done = self.run("dvc", "repro")
        assert done.returncode == 0, done.stdout + done.stderr
        return set(re.findall(r"Running stage '([^']+)'", done.stdout))

    def commit(self) -> str:
        """Commit all files; return the commit."""
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", "add", "-A"], cwd=self.folder, check=True)
        subprocess.run(["git", *who, "commit", "-qm", "a state"], cwd=self.folder, check=True)
        head = ("git", "rev-parse", "HEAD")
        found = subprocess.run(head, cwd=self.folder, check=True, capture_output=True, text=True)
        return found.stdout.strip()

    def checkout(self, commit: str) -> None:
        subprocess.run(["git", "checkout", "-q", commit], cwd=self.folder, check=True)

    def record(self) -> set[str]:
        """Record every result; return the keys of all runs in MLflow that stand for outputs."""
        done = self.run("fdbpl", "record")
        assert done.returncode == 0, done.stdout + done.stderr
        client = MlflowClient(f"sqlite:///{self.folder}/.fdbpl/mlflow/mlflow.db")
        experiment = client.get_experiment_by_name("fdbpl")
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        keys = [run.data.tags["fdbpl.key"] for run in runs]
        assert len(keys) == len(set(keys))
        return set(keys)

    def outputs(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for folder in ("plans", "caches", "prompts", "metrics")
            for path in sorted((self.folder / folder).rglob("*"))
            if path.is_file() and path.name != ".gitignore"
        }


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = Clone(tmp_path_factory.mktemp("clone") / "fdbpl")
    ran = made.repro()
    of_datasets = {f"{stage}@{name}" for stage in STAGES for name in ("textures", "icons")}
    assert ran == ANY_CHANGE | of_datasets
    return made


def bytes_of(folder: Path) -> dict[Path, bytes]:
    """Return what the files below a folder hold, by path: roles have files of one name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_a_second_repro_runs_nothing(clone: Clone) -> None:
    assert clone.repro() == set()


def test_equal_parameters_give_equal_bytes_anywhere(clone: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path / "elsewhere" / "other name")
    other.repro()
    first, second = clone.outputs(), other.outputs()
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_learning_rate_reruns_training_and_what_follows(clone: Clone) -> None:
    clone.change(train={"lr": 0.003})
    expected = {f"{s}@{d}" for s in ("train-student", "evaluate") for d in ("textures", "icons")}
    assert clone.repro() == expected | ANY_CHANGE


EDITING = """
from pathlib import Path
from fdbpl.methods.coop import CoOp
FACTOR = 1
class Editing(CoOp):
    def start(self, data, seed):
        edits = ("params.yaml", "0.004", "0.5"), ("editing.py", "OR = " "1", "OR = " "3")
        for name, old, new in edits:
            text = Path(name).read_text()
            if old in text:
                Path(name).write_text(text.replace(old, new))
        return super().start(data, seed)
    def objective(self, batch, text, scale):
        return {"loss": FACTOR * super().objective(batch, text, scale)["cross_entropy"]}
"""


def test_an_edit_under_a_stage_is_no_result_and_the_next_repro_is_right(clone: Clone) -> None:
    path, target = clone.folder / "params.yaml", "train-student@icons"
    before = path.read_text()
    (clone.folder / "editing.py").write_text(EDITING)
    clone.change(methods=["zero_shot", "editing.py:Editing"], train={"lr": 0.004})
    done = clone.run("dvc", "repro", target)
    assert done.returncode
    assert "editing.py: changed while train-student ran" in done.stderr
    assert f"Run dvc repro {target} again." in done.stderr
    lock = (clone.folder / "dvc.lock").read_text()

    def learned(*words: str) -> dict[str, bytes]:
        again = clone.run("dvc", "repro", *words, target)
        assert again.returncode == 0, again.stdout + again.stderr
        return {name: one for name, one in clone.outputs().items() if "prompts/icons" in name}

    found = learned()
    assert "lr: 0.5" not in lock
    assert "lr: 0.5" in (clone.folder / "dvc.lock").read_text()
    shutil.rmtree(clone.folder / ".fdbpl" / "trainings")
    assert learned("--force", "--single-item") == found
    path.write_text(before)


def test_a_new_dataset_runs_alone(clone: Clone) -> None:
    clone.change(datasets=["textures", "icons", "flowers"])
    of_flowers = {f"{stage}@flowers" for stage in STAGES}
    assert clone.repro() == of_flowers | ANY_CHANGE


def test_shifted_pictures_are_tested_with_the_prompts_there_are(clone: Clone) -> None:
    path = clone.folder / "metrics" / "compare.json"
    before = json.loads(path.read_text())["transfer"]
    clone.change(datasets=["textures", "icons", "flowers", "dishes"], shifted=["dishes"])
    of_dishes = {f"{stage}@dishes" for stage in STAGES}
    assert clone.repro() >= of_dishes | ANY_CHANGE
    after = json.loads(path.read_text())["transfer"]
    assert after["targets"]["dishes"]["kind"] == "shifted"
    for method, result in after["methods"].items():
        assert result["targets"]["icons"] == before["methods"][method]["targets"]["icons"]
    assert list((clone.folder / "prompts" / "dishes").glob("*/*")) == []
    assert "dishes |" in (clone.folder / "metrics" / "compare.md").read_text()


def test_a_curve_is_learned_from_the_caches_there_are(clone: Clone) -> None:
    params = (clone.folder / "params.yaml").read_text()
    clone.change(protocols=["base-to-new", "all-classes"], shots=[1, 2])
    clone.change(datasets=["textures", "icons", "flowers"], shifted=[])
    done = clone.run("dvc", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "textures: teacher encoded 0" in done.stdout  # the transfer had all its classes
    text = (clone.folder / "metrics" / "compare.md").read_text()
    assert "Learned on" not in text
    assert "by shots of each class" in text
    assert clone.repro() == set()
    (clone.folder / "params.yaml").write_text(params)
    assert clone.repro() <= ANY_CHANGE  # DVC restores the rest


def test_more_seeds_encode_only_new_regions(clone: Clone) -> None:
    clone.change(seeds=[1, 2, 3])
    done = clone.run("dvc", "repro", "cache-teacher@icons")
    counts = re.search(r"icons: teacher encoded ([\d,]+), reused ([\d,]+)", done.stdout)
    assert counts, done.stdout + done.stderr
    encoded, reused = (int(number.replace(",", "")) for number in counts.groups())
    assert 0 < encoded < reused


def test_a_users_mistake_is_one_line_and_leaves_the_results(clone: Clone) -> None:
    before = clone.outputs()
    clone.change(train={"lr": "fast"})
    done = clone.run("fdbpl", "evaluate", "textures")
    clone.change(train={"lr": 0.003})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "train.lr" in done.stderr
    assert "'fast'" in done.stderr
    assert clone.outputs() == before


def test_dvc_carries_a_cache_to_s3_and_back(
    clone: Clone, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.repro()
    folder = clone.folder / "caches" / "textures"
    before = bytes_of(folder)
    for words in (
        ("remote", "add", "--local", "-d", "far", f"{s3.url}/dvc"),
        ("remote", "modify", "--local", "far", "endpointurl", s3.endpoint),
        ("push", "cache-teacher@textures"),
    ):
        done = clone.run("dvc", *words)
        assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(clone.folder.parent / "site"))  # forgets all
    for path in (folder, clone.folder / ".dvc" / "cache"):
        path.rename(clone.folder.parent / path.name)
    done = clone.run("dvc", "pull", "cache-teacher@textures")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bytes_of(folder) == before
    assert clone.run("fdbpl", "cache", "verify", str(folder)).returncode == 0
    shutil.rmtree(clone.folder / ".dvc" / "cache")  # the others' outputs are only in the old one
    (clone.folder.parent / "cache").rename(clone.folder / ".dvc" / "cache")
    written = [path.read_bytes() for path in (clone.folder / ".dvc").glob("config*")]
    assert not any(b"secret-of-tests" in data or b"key-of-tests" in data for data in written)


@pytest.mark.timeout(900)
def test_the_checkout_of_an_older_commit_shows_its_runs(clone: Clone, tmp_path: Path) -> None:
    clone.repro()
    older, before = clone.commit(), clone.outputs()
    clone.change(train={"lr": 0.004})
    clone.repro()
    newer = clone.commit()
    of_newer = clone.record()

    clone.checkout(older)
    assert clone.repro() == set()  # DVC restores what it has seen before
    assert clone.outputs() == before
    of_both = clone.record()
    assert of_newer < of_both  # untrained methods are the same in both
    database = clone.folder / ".fdbpl" / "mlflow" / "mlflow.db"
    database.rename(tmp_path / "mlflow.db")
    of_older = clone.record()
    assert of_older | of_newer == of_both
    assert clone.record() == of_older
    clone.checkout(newer)
    clone.repro()
    assert clone.record() == of_both
