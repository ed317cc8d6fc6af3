"""A stage that is edited under does not count, and leaves nothing that later runs would believe."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import Project
from test_dvc_yaml import MAKING, STAGES, params_of
from test_made_with import CHANGES, with_change
from workspaces import workspace_params

from fdbpl.settings.params import Params
from fdbpl.settings.resolved import RESOLVED, resolved
from fdbpl.stages import PER_DATASET
from fdbpl.stages import started as module
from fdbpl.stages.started import started
from fdbpl.stages.train_student import Learner
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

OF_DATASET = [one.replace("_", "-") for one in PER_DATASET]
PARAMS = workspace_params(Path(), ["pets", "ships"], protocols=["base-to-new", "transfer"])


def write(path: Path, params: Params) -> None:
    """Write parameters as JSON, which is YAML; the files of methods as the user writes them."""
    plain = params.model_dump(mode="json")
    files = plain.pop("method_files")
    plain["methods"] = [f"{files[one]}:{one}" if one in files else one for one in plain["methods"]]
    path.write_text(json.dumps(plain, indent=1))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package, with one file for each that a stage names, and a file in each folder."""
    monkeypatch.setattr(module, "INSTALLED", tmp_path / "installed")
    return tmp_path / "installed"


def place_of(stage: str, dependency: str, installed: Path, root: Path) -> Path:
    """A file of a dependency of a stage of "pets", made where it is not there."""
    name = dependency.replace("${item.dataset}", "pets").replace("${source}", "pets")
    place = (installed if name.startswith("fdbpl/") else root) / name
    place = place if place.suffix == ".py" else place / "part" / "one.bin"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"as it was")
    return place


def begun(stage: str, root: Path) -> Callable[[], None]:
    """Start a stage; return what it calls before it writes."""
    dataset = "pets" if stage in OF_DATASET else None
    _, work = started(stage, root / "params.yaml", Workspace(root / "work"), dataset)
    work.before_writing()
    return work.before_writing


def rewritten(place: Path) -> None:
    place.write_bytes(b"otherwise")


def touched_alike(place: Path) -> None:
    """Write the same number of bytes at the same time, as a copy that keeps times does."""
    about = place.stat()
    aside = place.with_name("aside")
    aside.write_bytes(b"it was as")
    os.utime(aside, ns=(about.st_atime_ns, about.st_mtime_ns))
    aside.replace(place)


def one_more(place: Path) -> None:
    (place if place.is_dir() else place.parent).joinpath("two.bin").write_bytes(b"")


@pytest.mark.parametrize("stage", sorted(MAKING))
def test_every_input_and_all_code_is_watched(stage: str, tmp_path: Path, installed: Path) -> None:
    write(tmp_path / "params.yaml", PARAMS)
    root = tmp_path / "work"
    places = [place_of(stage, one, installed, root) for one in STAGES[stage]["deps"]]
    for place in places:
        in_folder = place.suffix != ".py"
        for edit in (rewritten, touched_alike, Path.unlink, *([one_more] if in_folder else [])):
            before = begun(stage, tmp_path)
            edit(place)
            with pytest.raises(UserError, match=rf"changed while {stage} ran.*Run fdbpl {stage}"):
                before()
            place.write_bytes(b"as it was")
            place.with_name("two.bin").unlink(missing_ok=True)
    before = begun(stage, tmp_path)
    (installed / "fdbpl" / "other.py").write_text("")
    place_of(stage, "plans/others", installed, root / "elsewhere")
    cached = places[-1].parent / "__pycache__" / "one.pyc"
    cached.parent.mkdir()
    cached.write_bytes(b"")
    before()


@pytest.mark.parametrize("stage", sorted(MAKING))
@pytest.mark.usefixtures("installed")
def test_a_key_that_the_stage_uses_is_watched_and_no_other(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    a_key_each = {key.partition(".")[0]: key for key in CHANGES if key != "method_files"}
    for section, key in a_key_each.items():
        write(path, PARAMS)
        before = begun(stage, tmp_path)
        write(path, with_change(PARAMS, key))
        if section in params_of(stage):
            with pytest.raises(UserError) as error:
                before()
            assert f"{path}: changed while {stage} ran: {section}" in str(error.value)
            assert " was " in str(error.value)
            assert ", is " in str(error.value)
        else:
            before()


@pytest.mark.usefixtures("installed")
def test_words_about_parameters_are_none(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    write(path, PARAMS)
    before = begun("train-student", tmp_path)
    path.write_text("# why\n" + path.read_text())
    before()
    path.write_text(path.read_text().replace("seeds", "sedes"))
    with pytest.raises(UserError, match="unknown key 'sedes'"):
        before()
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        before()


@pytest.mark.usefixtures("installed")
def test_under_dvc_the_parameters_are_those_that_dvc_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a user edits in params.yaml is the next run's: no stage reads it, nor does DVC."""
    monkeypatch.chdir(tmp_path)
    RESOLVED.write_bytes(resolved(PARAMS))
    Path("params.yaml").write_text("")
    _, work = started("train-student", RESOLVED, Workspace(Path()), "pets")
    Path("params.yaml").write_text("edited: true")
    work.before_writing()
    RESOLVED.write_bytes(resolved(with_change(PARAMS, "train.lr")))
    with pytest.raises(
        UserError, match=rf"^{RESOLVED}: changed while .*: train\.lr was 0\.002, is"
    ):
        work.before_writing()


@pytest.mark.usefixtures("installed")
def test_files_that_parameters_name_are_watched(tmp_path: Path) -> None:
    names = ("seed1.tar", "seed2.tar", "words.txt", "weights.bin", "mine.py")
    for name in names:
        (tmp_path / name).write_text("from fdbpl.methods.coop import CoOp as Mine\n")
    at = {name: str(tmp_path / name) for name in names}
    changes: dict[str, Any] = {
        "methods": ["imported", f"{at['mine.py']}:Mine"],
        "imported": {"base-to-new": {"pets": str(tmp_path / "seed{}.tar")}},
        "student": {"architecture": "small", "weights": at["weights.bin"]},
        "data": {"own": {"pets": {"folder": "x"}}, "vocabulary": at["words.txt"]},
    }
    write(tmp_path / "params.yaml", workspace_params(tmp_path, ["pets"], **changes))
    for name in names:
        stage = "prepare-crops" if name == "words.txt" else "train-student"
        before = begun(stage, tmp_path)
        (tmp_path / name).write_text("otherwise")
        with pytest.raises(UserError, match=rf"{name}: changed while {stage} ran"):
            before()


def test_the_next_step_is_dvcs_where_dvc_runs_it(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "evaluate")
    write(Path("params.yaml"), PARAMS)
    place = place_of("evaluate", "plans/${item.dataset}", installed, Path())
    _, work = started("evaluate", Path("params.yaml"), Workspace(Path()), "pets")
    rewritten(place)
    with pytest.raises(UserError, match=r"Run dvc repro evaluate@pets again\.$"):
        work.before_writing()


def prompts(project: Project) -> dict[str, bytes]:
    return {name: one for name, one in project.outputs().items() if "/prompts/" in name}


def forget(project: Project) -> None:
    """Remove what was ever learned."""
    for file in (project.folder / "runs/default/.fdbpl/trainings").iterdir():
        file.unlink()


def test_a_training_that_was_edited_under_leaves_no_trace(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, before = Learner.learn, prompts(done)

    def learn_and_edit(self: Learner, *given: Any) -> list[str]:
        said = learn(self, *given)
        done.change(train={"lr": 0.5})
        return said

    done.change(train={"epochs": 3})
    monkeypatch.setattr(Learner, "learn", learn_and_edit)
    result = done("train-student", "mine")
    assert result.exit_code == 2
    assert "changed while train-student ran: train.lr was 0.1, is 0.5. So" in result.stderr
    assert result.stderr.endswith("Run fdbpl train-student mine again.\n")
    assert prompts(done) == before
    monkeypatch.setattr(Learner, "learn", learn)
    assert done("train-student", "mine").exit_code == 0
    again = prompts(done)
    forget(done)
    assert done("train-student", "mine").exit_code == 0
    assert prompts(done) == again != before


MINE = """
from fdbpl.methods.coop import CoOp
class Mine(CoOp):
    def objective(self, batch, text, scale):
        return {"times": FACTOR * super().objective(batch, text, scale)["cross_entropy"]}
"""


def test_a_method_edited_while_it_learns_is_not_found_under_its_new_code(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, file, copy = Learner.learn, Path("edited.py"), Path("copy_of_edited.py")

    def edit_and_learn(self: Learner, *given: Any) -> list[str]:
        file.write_text(MINE.replace("FACTOR", "5"))
        self._work = Workspace(self._work.root)  # as if it came when this had begun to learn
        return learn(self, *given)

    def learned() -> dict[str, bytes]:
        assert done("train-student", "mine").exit_code == 0
        return prompts(done)

    file.write_text(MINE.replace("FACTOR", "2"))
    done.change(methods=["zero_shot", f"{file}:Mine"])
    monkeypatch.setattr(Learner, "learn", edit_and_learn)
    result = done("train-student", "mine")
    assert result.exit_code == 2
    assert f"{file}: changed while train-student ran" in result.stderr
    monkeypatch.setattr(Learner, "learn", learn)
    file.rename(copy)  # a module is loaded once in a process
    done.change(methods=["zero_shot", f"{copy}:Mine"])
    found = learned()
    forget(done)
    assert learned() == found
