from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packed import drawn, pack_dataset, photos  # noqa: F401 - a fixture
from PIL import Image, ImageOps
from small_pipeline import small_params

from fdbpl.data.readers.folder import read_folder
from fdbpl.data.readers.table import read_table
from fdbpl.stages import PER_DATASET, run_stage
from fdbpl.stages.evaluated import read_record
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from studies.photographs.parts import class_names, read_part, unpack
from studies.photographs.shifts import COVER, SHIFTS, generator, write_shifted

SIZES = st.tuples(st.integers(25, 90), st.integers(25, 90))
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("shift", SHIFTS)
@given(size=SIZES, seed=SEEDS)
def test_a_shift_keeps_the_size_and_follows_from_the_picture(
    shift: str, size: tuple[int, int], seed: int
) -> None:
    image = drawn(seed, size)
    before = image.tobytes()
    shown = SHIFTS[shift](image, generator(before))
    assert (shown.mode, shown.size) == ("RGB", size)
    assert image.tobytes() == before
    assert shown.tobytes() != before
    assert SHIFTS[shift](image, generator(before)).tobytes() == shown.tobytes()


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 64), (32, 32)])
def test_any_picture_can_be_shifted(shift: str, size: tuple[int, int]) -> None:
    assert SHIFTS[shift](Image.new("RGB", size, "teal"), generator(b"")).size == size


@given(st.binary(max_size=8), SEEDS, SEEDS)
def test_chance_is_the_picture_s_and_the_seed_s_own(data: bytes, one: int, other: int) -> None:
    def draw(data: bytes, seed: int) -> float:
        return float(generator(data, seed).random())

    assert draw(data, one) == draw(data, one)
    assert draw(data, one) != draw(data + b"x", one)
    assert (draw(data, one) == draw(data, other)) == (one == other)


@given(SEEDS)
def test_an_edge_has_no_side(seed: int) -> None:
    """The drawing of a negative is that of the picture; that of a mirrored one is mirrored."""
    image = drawn(seed)
    lines = SHIFTS["edges"](image, generator(b""))
    assert SHIFTS["edges"](ImageOps.invert(image), generator(b"")) == lines
    mirrored = SHIFTS["edges"](ImageOps.mirror(image), generator(b""))
    assert np.abs(np.int16(ImageOps.mirror(mirrored)) - np.int16(lines)).max() <= 1  # rounding


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_an_even_picture_has_no_edge(colour: tuple[int, int, int]) -> None:
    even = Image.new("RGB", (40, 30), colour)
    assert np.asarray(SHIFTS["edges"](even, generator(b""))).min() == 255


@given(st.integers(1, 24), SEEDS)
def test_a_small_picture_has_nothing_to_lose(side: int, seed: int) -> None:
    image = drawn(seed, (side, 50))
    assert SHIFTS["lowres"](image, generator(b"")) == image


@given(SIZES, SEEDS)
def test_a_fifth_to_a_third_is_hidden(size: tuple[int, int], seed: int) -> None:
    shown = np.asarray(SHIFTS["occluded"](Image.new("RGB", size, "blue"), generator(b"", seed)))
    is_grey = (shown == shown[..., :1]).all(axis=-1)
    rows, columns = np.nonzero(is_grey)
    assert is_grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert COVER[0] - 0.02 < is_grey.mean() < COVER[1] + 0.02  # sides are whole pixels


CLASSES = ["an_owl", "cat", "sea", "sky"]


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_table_is_the_dataset_s_test_in_other_pictures(tmp_path: Path, shift: str) -> None:
    pack_dataset(tmp_path, "dtd", CLASSES, train=1, test=2)
    plain = read_folder("dtd", unpack(tmp_path, "dtd", tmp_path / "out"), "{}")
    table = write_shifted(tmp_path, "dtd", shift, tmp_path / "out")
    shifted = read_table("dtd", table, "{}")
    assert shifted.class_names == plain.class_names
    assert shifted.test == plain.test
    assert shifted.train == shifted.val == ()
    for item in plain.test:
        with (
            Image.open(plain.folder / item.path) as one,
            Image.open(shifted.folder / item.path) as other,
        ):
            assert one.size == other.size
            assert one.tobytes() != other.tobytes()


@pytest.mark.parametrize("shift", SHIFTS)
def test_files_do_not_change_with_the_run_or_with_other_pictures(
    tmp_path: Path, shift: str
) -> None:
    few, more = tmp_path / "few", tmp_path / "more"
    for folder, classes in ((few, CLASSES[:2]), (more, CLASSES)):
        folder.mkdir()
        pack_dataset(folder, "dtd", classes, test=2)
    first, second = (write_shifted(one, "dtd", shift, one / "out").parent for one in (few, more))
    again = write_shifted(few, "dtd", shift, tmp_path / "again").parent
    files = [path.relative_to(first) for path in sorted(first.rglob("*.jpg"))]
    assert len(files) == 4
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes()
        assert (first / file).read_bytes() == (again / file).read_bytes()


def test_a_finished_folder_is_left_and_an_unfinished_one_never_seen(tmp_path: Path) -> None:
    pack_dataset(tmp_path, "dtd", CLASSES, test=1)
    table = write_shifted(tmp_path, "dtd", "edges", tmp_path / "out")
    pack_dataset(tmp_path, "dtd", CLASSES, test=0)
    with pytest.raises(UserError, match=r"no test picture of 'an owl' \(4 of 4 classes\)"):
        write_shifted(tmp_path, "dtd", "cast", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dtd-edges"]
    assert write_shifted(tmp_path, "dtd", "edges", tmp_path / "out") == table
    with pytest.raises(UserError, match="'fog' is unknown, wanted one of edges"):
        write_shifted(tmp_path, "dtd", "fog", tmp_path / "out")


def test_a_table_of_test_pictures_serves_as_shifted_and_nowhere_else(tmp_path: Path) -> None:
    pack_dataset(tmp_path, "dtd", CLASSES, train=2, test=1)
    own = {
        "dtd": {"folder": str(unpack(tmp_path, "dtd", tmp_path / "out"))},
        "dtd-edges": {"table": str(write_shifted(tmp_path, "dtd", "edges", tmp_path / "out"))},
    }
    changes = {
        "datasets": [*own],
        "protocols": ["base-to-new", "transfer"],
        "source": "dtd",
        "data": {"own": own},
        "train": {"lr": 0.02, "epochs": 1, "batch": 4},
        "seeds": [1],
    }
    methods = ["zero_shot", "fdbpl"]
    params = small_params(tmp_path, methods, **changes, shifted=["dtd-edges"])
    work = Workspace(tmp_path / "work")
    for stage in PER_DATASET:
        for name in own:
            run_stage(stage, params, work, name)
    for method in methods:
        run = read_record(params, "dtd-edges", work).run("transfer", 2)
        assert run is not None
        assert run.kind == "shifted"
        assert 0 <= run.measures(method, [1])["1"]["accuracy"] <= 100
    for source in own:
        with pytest.raises(UserError, match="list it under shifted"):
            elsewhere = small_params(tmp_path, methods, **{**changes, "source": source})
            run_stage("prepare_crops", elsewhere, Workspace(tmp_path / "other"), "dtd-edges")


def test_tables_of_the_photographs_have_the_labels_of_their_folders(photos: Path) -> None:  # noqa: F811
    for dataset in ("caltech101", "tiny_imagenet"):
        names = list(class_names(photos, dataset).values())
        assert names == sorted(names)
    for picture in list(read_part(photos, "caltech101", "test"))[:2]:
        assert picture.label == 0
