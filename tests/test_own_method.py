"""A method of the user's own, as docs/methods.md shows it, is a method as any other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_pipeline import decision, evaluated, run_all, small_params

from fdbpl.classify.artifact import Artifact
from fdbpl.classify.decision import Discriminant
from fdbpl.settings.params import Params
from fdbpl.stages import OVER_ALL, run_stage
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.tracking.records import read_records
from fdbpl.training import checkpoint
from fdbpl.training.checkpoint import Checkpoint, State

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
SHOWN = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
LINES = 40  # that a method of one's own takes, at most


class Interrupted(Exception):  # noqa: N818 - as the word is
    """What a killed training raises here."""


@pytest.fixture
def params(tmp_path: Path) -> Params:
    file = tmp_path / "mine.py"
    file.write_text(SHOWN, encoding="utf-8")
    return small_params(tmp_path, ["coop", "fdbpl", f"{file}:Mine"])


def prompts(work: Workspace, seed: int = 1) -> Artifact:
    return Artifact.load(work.learned("here", "base-to-new", "Mine", seed, "prompts"), "prompts")


def test_the_page_shows_a_short_one() -> None:
    assert len(SHOWN.splitlines()) <= LINES


def test_it_goes_through_the_whole_pipeline(params: Params, tmp_path: Path) -> None:
    work = Workspace(tmp_path / "work")
    run_all(params, work)
    learned = prompts(work)
    assert set(learned.arrays) == {"positive", "bias"}
    assert learned.arrays["bias"].any()
    part = decision(params, work, "Mine").parts["bias"]
    assert isinstance(part, Discriminant)
    assert part.rows[:2, -1] == pytest.approx(learned.arrays["bias"])
    assert not part.rows[2:].any()  # no bias of classes never seen
    half = evaluated(work, "Mine", "here", "base-to-new")["1"]["measures"]
    assert set(half) >= {"base", "new", "h", "joint"}
    assert set(evaluated(work, "Mine", "there", "transfer")) == {"1", "2"}


def test_it_is_compared_and_recorded(params: Params, tmp_path: Path) -> None:
    work = Workspace(tmp_path / "work")
    run_all(params, work)
    for stage in OVER_ALL:
        run_stage(stage, params, work, None)
    records = read_records(params, work)
    assert not records.notes
    assert {(one.method, one.seed) for one in records.seeds} >= {("Mine", 1), ("Mine", 2)}
    assert {one.method for one in records.transfers} == {"coop", "fdbpl", "Mine"}
    assert "Mine" in {one.method for one in records.summaries}
    assert "Mine" in work.comparison("md").read_text(encoding="utf-8")


def test_it_is_looked_up_until_its_file_changes(params: Params, tmp_path: Path) -> None:
    work, file = Workspace(tmp_path / "work"), tmp_path / "mine.py"
    for stage in ("prepare_crops", "cache_teacher", "train_student"):
        first = run_stage(stage, params, work, "here")
    again = run_stage("train_student", params, work, "here")
    assert "0 looked up" in first[0]
    assert ": 0 trainings" in again[0]
    other = file.with_name("other.py")  # a module is loaded once in a process
    other.write_text(SHOWN.replace("CoOp with a bias", "A comment on a bias"), encoding="utf-8")
    alike = small_params(tmp_path, ["coop", "fdbpl", f"{other}:Mine"])
    assert ": 0 trainings" in run_stage("train_student", alike, work, "here")[0]
    changed = file.with_name("changed.py")
    changed.write_text(SHOWN.replace("torch.zeros(", "0.5 + torch.zeros("), encoding="utf-8")
    unlike = small_params(tmp_path, ["coop", "fdbpl", f"{changed}:Mine"])
    assert ": 4 trainings" in run_stage("train_student", unlike, work, "here")[0]
    with pytest.raises(UserError, match=r"method_files.*Run fdbpl train-student here"):
        run_stage("evaluate", params, work, "here")


def test_it_goes_on_where_it_was_interrupted(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = params.model_copy(update={"methods": ["Mine"]})
    works = [Workspace(tmp_path / name) for name in ("whole", "cut")]
    for work in works:
        for stage in ("prepare_crops", "cache_teacher"):
            run_stage(stage, alone, work, "here")
    run_stage("train_student", alone, works[0], "here")
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    save, saved = Checkpoint.save_if_due, list[int]()

    def then_stop(self: Checkpoint, state: Callable[[], State]) -> None:
        save(self, state)
        saved.append(1)
        if len(saved) == 3:
            raise Interrupted

    monkeypatch.setattr(Checkpoint, "save_if_due", then_stop)
    with pytest.raises(Interrupted):
        run_stage("train_student", alone, works[1], "here")
    lines = run_stage("train_student", alone, works[1], "here")
    assert "  Mine: interrupted before, went on in epoch 2 of 3" in lines
    for name, array in prompts(works[0]).arrays.items():
        np.testing.assert_array_equal(array, prompts(works[1]).arrays[name])


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("class Other: pass", "no such class"),
        ("Mine = 3", "a int"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
    ],
)
def test_a_file_without_it_is_refused(tmp_path: Path, written: str, problem: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(written, encoding="utf-8")
    given = small_params(tmp_path, ["coop", f"{file}:Mine"])
    with pytest.raises(UserError, match=rf"mine\.py.*{problem}"):
        _ = given.chosen_methods
