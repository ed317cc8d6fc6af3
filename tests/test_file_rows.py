"""Rows of a file against the array that it was written from."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.regions.file_rows import FileRows

RECORD = np.dtype([("a", "<u4"), ("b", "u1", (3,))])  # of odd size, as regions are
MAPPED = """
import sys
from pathlib import Path
import numpy as np
from fdbpl.regions.file_rows import FileRows
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
rows = FileRows(open(sys.argv[1], "rb"), np.dtype("u1"))
before = resident()
total = sum(int(rows[start : start + (1 << 20)].sum()) for start in range(0, len(rows), 1 << 20))
total += int(rows[np.arange(0, len(rows), 4096)].sum())
print(total, resident() - before)
"""


def written(path: Path, values: np.ndarray, before: bytes = b"") -> FileRows:
    path.unlink(missing_ok=True)
    path.write_bytes(before + values.tobytes())
    return FileRows(path.open("rb"), values.dtype, len(before))


def records(count: int, seed: int) -> np.ndarray:
    data = np.random.default_rng(seed).integers(0, 256, count * RECORD.itemsize, np.uint8)
    return np.frombuffer(data.tobytes(), RECORD)


bounds = st.one_of(st.none(), st.integers(-12, 12))


@given(
    count=st.integers(0, 9),
    before=st.binary(max_size=5),
    part=st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, -1])),
    order=st.lists(st.integers(0, 1000), max_size=6),
)
def test_rows_are_those_of_the_array(
    tmp_path_factory: pytest.TempPathFactory, count, before, part, order
) -> None:
    values = records(count, len(before))
    rows = written(tmp_path_factory.getbasetemp() / "rows", values, before)
    assert len(rows) == count
    assert rows[part].tobytes() == values[part].tobytes()
    chosen = np.array(order, np.int64) % max(count, 1) if count else np.empty(0, np.int64)
    for index in (chosen, chosen[:, None], chosen[::2]):
        assert rows[index].shape == index.shape
        assert rows[index].tobytes() == values[index].tobytes()


def test_what_was_read_is_the_readers_own(tmp_path: Path) -> None:
    values = records(5, 0)
    rows = written(tmp_path / "rows", values)
    for part in (slice(1, 3), np.array([1, 2])):
        taken = rows[part]
        taken["a"] += 1
        assert rows[part].tobytes() == values[part].tobytes()


def test_a_row_beyond_the_end_is_refused(tmp_path: Path) -> None:
    rows = written(tmp_path / "rows", records(5, 0))
    with pytest.raises(IndexError):
        rows[np.array([5])]


@pytest.mark.parametrize("how", ["replaced", "unlinked", "read-only"])
def test_the_file_that_was_opened_stays_readable(tmp_path: Path, how: str) -> None:
    """Read-only too, as DVC's outputs are: hard links into its cache."""
    values = records(5, 0)
    (tmp_path / "rows").write_bytes(values.tobytes())
    os.link(tmp_path / "rows", tmp_path / "link")
    (tmp_path / "link").chmod(0o444 if how == "read-only" else 0o644)
    rows = FileRows((tmp_path / "rows").open("rb"), RECORD)
    if how == "replaced":
        (tmp_path / "aside").write_bytes(records(9, 1).tobytes())
        os.replace(tmp_path / "aside", tmp_path / "rows")
    elif how == "unlinked":
        (tmp_path / "rows").unlink()
    assert len(rows) == 5
    assert rows[:].tobytes() == values.tobytes()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells resident memory by /proc")
def test_no_row_stays_in_memory(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"\1" * (32 << 20))
    done = subprocess.run(
        [sys.executable, "-c", MAPPED, str(tmp_path / "rows")], capture_output=True, check=True
    )
    total, kept = map(int, done.stdout.split())
    assert total == (32 << 20) + (8 << 10)
    assert kept < 8 << 20


def test_the_file_is_closed_with_its_last_reader(tmp_path: Path) -> None:
    file = (tmp_path / "rows").open("w+b")
    rows = FileRows(file, RECORD)
    assert not file.closed
    del rows
    assert file.closed
