from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_refinement import directions, log_probabilities

from fdbpl import refinement
from fdbpl.refinement import refined_log_probabilities
from fdbpl.scratch import ScratchRows


def scratch(path: Path, values: torch.Tensor, at_once: int = 3) -> ScratchRows:
    path.unlink(missing_ok=True)
    rows = ScratchRows(path, values.shape[1])
    for part in torch.split(values, at_once):
        rows.append(part)
    return rows


@given(
    count=st.integers(1, 9),
    width=st.integers(1, 4),
    start=st.integers(0, 9),
    stop=st.integers(0, 9),
    order=st.lists(st.integers(0, 100), min_size=1, max_size=12),
)
def test_rows_come_back_by_slices(
    tmp_path_factory: pytest.TempPathFactory, count, width, start, stop, order
) -> None:
    values = torch.arange(count * width, dtype=torch.float32).view(count, width) / 7
    rows = scratch(tmp_path_factory.getbasetemp() / "rows", values)
    assert len(rows) == count
    assert torch.equal(rows[start:stop], values[start:stop])
    chosen = torch.tensor(order) % count
    some = rows.at(chosen.numpy())
    assert len(some) == len(chosen)
    assert torch.equal(some[start:stop], values[chosen][start:stop])


def test_refining_from_files_and_in_parts_is_refining_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = directions(1, 40, 6).float()
    verdicts = log_probabilities(2, 40, 5).float()
    whole = refined_log_probabilities(images, verdicts)
    files = scratch(tmp_path / "images", images), scratch(tmp_path / "verdicts", verdicts)
    assert torch.equal(refined_log_probabilities(*files), whole)
    for at_once in (1, 7, 39):
        monkeypatch.setattr(refinement, "IMAGES_AT_ONCE", at_once)
        torch.testing.assert_close(refined_log_probabilities(*files), whole)
