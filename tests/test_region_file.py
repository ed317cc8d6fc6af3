"""A plan's regions in a file against numpy's own reading and writing."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fdbpl.regions import region_file
from fdbpl.regions.boxes import REGION, CropPolicy, draw_regions
from fdbpl.regions.region_file import in_parts, open_regions, write_regions


def regions(count: int) -> np.ndarray:
    return draw_regions(3, 1, bytes(16), 64, 48, count, CropPolicy())


@pytest.mark.parametrize("count", [0, 1, 2, 7, 10, 1000])
def test_a_file_is_numpys_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(region_file, "AT_ONCE", 3)
    drawn = regions(count)
    write_regions(tmp_path / "regions.npy", drawn)
    wanted = BytesIO()
    np.save(wanted, drawn, allow_pickle=False)
    assert (tmp_path / "regions.npy").read_bytes() == wanted.getvalue()
    found = open_regions(tmp_path / "regions.npy")
    assert len(found) == count
    assert found[:].dtype == REGION
    assert found[:].tobytes() == drawn.tobytes()
    assert b"".join(part.tobytes() for part in in_parts(found)) == drawn.tobytes()
    assert [len(part) for part in in_parts(found)] == [len(part) for part in in_parts(drawn)]
    write_regions(tmp_path / "again.npy", found)
    assert (tmp_path / "again.npy").read_bytes() == wanted.getvalue()


def header_bytes() -> int:
    file = BytesIO()
    np.save(file, regions(0))
    return len(file.getvalue())


@given(place=st.integers(0, header_bytes() - 1), value=st.integers(0, 255))
@example(place=6, value=3)  # version 3
@example(place=10, value=ord("("))  # a header that is no dictionary
def test_another_header_is_refused_or_means_the_same(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "regions.npy"
    write_regions(path, regions(4))
    data = bytearray(path.read_bytes())
    data[place] = value
    path.write_bytes(data)
    try:
        found = open_regions(path)
    except region_file.NO_NPY:
        return
    assert found[:].tobytes() == regions(4).tobytes()


@pytest.mark.parametrize("bytes_more", [-26, -25, -24, -1, 1, 24, 25])
def test_a_file_of_another_length_is_refused(tmp_path: Path, bytes_more: int) -> None:
    path = tmp_path / "regions.npy"
    write_regions(path, regions(4))
    os.truncate(path, path.stat().st_size + bytes_more)
    with pytest.raises(ValueError, match="wanted"):
        open_regions(path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3),
        np.zeros((2, 2), REGION),
        np.zeros((), REGION),
        np.zeros(3, REGION.descr[:3]),
        np.array([{}], object),
    ],
    ids=["numbers", "two axes", "no axis", "fields missing", "a pickle"],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "regions.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match="wanted"):
        open_regions(tmp_path / "regions.npy")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regions(tmp_path / "regions.npy")
