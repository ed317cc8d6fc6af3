"""How what DVC says is understood; the real DVC's part is in test_servers.py."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fdbpl.settings.project.project import project_files
from flows import dvc
from flows.dvc_files import RWLOCK, mend

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that puts a DVC of so many lines of Python in place of the real one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(PROJECT)]))

    def put(code: str) -> None:
        (tmp_path / "dvc.py").write_text(f"import sys, time\n{code}")

    return put


def test_every_line_is_passed_on_and_the_words_are_those_given(
    speaks: Callable[[str], None],
) -> None:
    speaks("print(*sys.argv[1:]); print('done', file=sys.stderr)")
    lines: list[str] = []
    dvc.repro("evaluate@icons", seconds=60, log=lines.append)
    assert lines == ["--wait-for-lock repro evaluate@icons", "done"]


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ("ERROR: 'plans/icons' is busy, it is being blocked by:", dvc.DvcBusy),
        ("ERROR: Unable to acquire lock.", dvc.DvcBusy),
        ("ERROR: Unable to read RWLock-file '.dvc/tmp/rwlock'.", dvc.DvcBusy),
        ("ERROR: failed to reproduce 'evaluate@icons'", dvc.DvcFailed),
    ],
)
def test_only_a_busy_dvc_is_worth_another_try(
    speaks: Callable[[str], None], says: str, kind: type[Exception]
) -> None:
    speaks(f"sys.exit({says!r})")
    with pytest.raises(dvc.DvcFailed, match=says) as caught:
        dvc.repro("evaluate@icons", seconds=60, log=lambda line: None)
    assert caught.type is kind


def test_time_that_is_up_ends_dvc(speaks: Callable[[str], None]) -> None:
    speaks("time.sleep(100)")
    start = time.monotonic()
    with pytest.raises(dvc.DvcFailed, match="not done after 1 seconds"):
        dvc.repro("evaluate@icons", seconds=1, log=lambda line: None)
    assert time.monotonic() - start < 60


def test_changed_stages_are_read_past_warnings(speaks: Callable[[str], None]) -> None:
    speaks("""print("WARNING: a lock was left"); print('{"compare": [], "evaluate@icons": []}')""")
    assert dvc.changed_stages() == ["compare", "evaluate@icons"]


def test_a_projects_code_is_written_before_dvc_looks_and_is_no_changed_stage(
    speaks: Callable[[str], None],
) -> None:
    speaks("""import os; print('{"code": [], "compare": []}' if os.path.isdir("code") else "{}")""")
    Path("dvc.yaml").write_text(project_files("")["dvc.yaml"])
    assert dvc.changed_stages() == ["compare"]


def test_a_half_written_lock_stays_while_a_dvc_is_at_work(speaks: Callable[[str], None]) -> None:
    speaks("print('ready', flush=True); time.sleep(100)")
    RWLOCK.parent.mkdir(parents=True)
    RWLOCK.write_text("")
    with subprocess.Popen([sys.executable, "-m", "dvc"], stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        assert list(mend()) == []
        assert RWLOCK.exists()
        other.kill()
    said: list[str] = []
    speaks("print('ran')")
    dvc.repro("compare", seconds=60, log=said.append)
    assert said == [f"{RWLOCK}: damaged; removed, since no DVC is at work", "ran"]
    assert not RWLOCK.exists()
