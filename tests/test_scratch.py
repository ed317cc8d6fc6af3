import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_refinement import directions, log_probabilities, refined

from fdbpl.methods import refinement
from fdbpl.methods.scratch import ScratchRows
from fdbpl.system.errors import UserError

KILLED = """
import os, signal, torch
from fdbpl.methods.scratch import ScratchRows
rows = ScratchRows(2)
rows.append(torch.ones(9, 2))
print(len(rows), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def scratch(values: torch.Tensor, at_once: int = 3) -> ScratchRows:
    rows = ScratchRows(values.shape[1])
    for part in torch.split(values, at_once):
        rows.append(part)
    return rows


@given(
    count=st.integers(0, 9),
    width=st.integers(1, 4),
    start=st.integers(0, 9),
    stop=st.integers(0, 9),
)
def test_rows_come_back_as_of_a_tensor(count, width, start, stop) -> None:
    values = torch.arange(count * width, dtype=torch.float32).view(count, width) / 7
    rows = scratch(values)
    assert len(rows) == count
    assert torch.equal(rows[start:stop], values[start:stop])
    index = np.random.default_rng(start).integers(0, max(count, 1), 5 if count else 0)
    some = rows.at(index)
    rows.append(torch.ones(1, width))  # changes nothing of what was chosen
    assert len(some) == len(index)
    assert torch.equal(some[start:stop], values[index[start:stop]])


def test_refining_from_files_and_in_parts_is_refining_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = directions(1, 40, 6).float()
    verdicts = log_probabilities(2, 40, 5).float()
    whole = refined(images, verdicts)
    files = scratch(images), scratch(verdicts)
    assert torch.equal(refined(*files), whole)
    for at_once in (1, 7, 39):
        monkeypatch.setattr(refinement, "IMAGES_AT_ONCE", at_once)
        torch.testing.assert_close(refined(*files), whole)


def test_the_file_has_no_name_and_outlives_its_maker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    some = scratch(torch.ones(4, 2)).at(np.array([2, 0]))
    assert not list(tmp_path.iterdir())
    assert torch.equal(some[:], torch.ones(2, 2))


def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-9, b"9\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full)
    with pytest.raises(UserError, match=r"No space left on device\. Make room, or set TMPDIR"):
        ScratchRows(2).append(torch.ones(3, 2))
