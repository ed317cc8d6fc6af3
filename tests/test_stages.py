import gc
import subprocess
import sys

import pytest
from workspaces import workspace_params

from fdbpl.stages import run_stage
from fdbpl.system.workspace import Workspace


@pytest.fixture
def collecting():
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("was_enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_collector_rests_while_a_stage_is_imported_and_no_longer(
    tmp_path, monkeypatch, collecting, was_enabled: bool, fails: bool
) -> None:
    found = tmp_path / "stage_of_a_test.py"
    found.write_text(
        "import gc\nseen = [gc.isenabled()]\n"
        + ("raise OSError('a library is missing')\n" if fails else "")
        + "def stage_of_a_test(params, dataset, work):\n"
        "    seen.append(gc.isenabled())\n    return [str(seen)]\n"
    )
    monkeypatch.setattr("fdbpl.stages.__path__", [str(tmp_path)])
    params = workspace_params(tmp_path, ["mine"])
    if not was_enabled:
        gc.disable()
    try:
        if fails:
            with pytest.raises(OSError, match="a library is missing"):
                run_stage("stage_of_a_test", params, Workspace(tmp_path), "mine")
        else:
            said = run_stage("stage_of_a_test", params, Workspace(tmp_path), "mine")
            assert said == [f"[False, {was_enabled}]"]
            frozen = gc.get_freeze_count()
            assert frozen > 0
            gc.unfreeze()
            run_stage("stage_of_a_test", params, Workspace(tmp_path), "mine")
            assert gc.get_freeze_count() == 0  # once a process: what lives later may be garbage
        assert gc.isenabled() == was_enabled
    finally:
        sys.modules.pop("fdbpl.stages.stage_of_a_test", None)


def test_a_process_that_loaded_a_stage_ends_without_a_word() -> None:
    code = "from fdbpl.stages import load; load('open_clip')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
