import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packed import pack, pack_dataset, photos, write_tar  # noqa: F401 - a fixture

from fdbpl.data.names import spoken
from fdbpl.data.params import has_one_gap
from fdbpl.data.readers.folder import read_folder
from fdbpl.system.errors import UserError
from studies.photographs.parts import (
    DATASETS,
    DEVELOPMENT,
    EVIDENCE,
    PARTS,
    Picture,
    class_names,
    decode,
    read_part,
    unpack,
)


def test_eleven_datasets_are_for_choices_or_for_evidence() -> None:
    assert len(DATASETS) == 11
    assert {*DEVELOPMENT, *EVIDENCE} == {*DATASETS}
    assert not {*DEVELOPMENT} & {*EVIDENCE}
    for about in DATASETS.values():
        assert has_one_gap(about.template)
        assert about.kinds


FOLDERS = st.lists(st.from_regex(r"[A-Za-z]([a-z_-]{0,5}[a-z])?", fullmatch=True), min_size=1)


@given(FOLDERS.map(dict.fromkeys), st.randoms(use_true_random=False))
def test_pictures_come_by_class_and_file_whatever_the_tar_s_order(
    tmp_path_factory: pytest.TempPathFactory, folders: dict[str, None], random: Random
) -> None:
    folder = tmp_path_factory.mktemp("photos")
    names = {one: f"{one}_x" for one in folders}
    (folder / "dtd.names.json").write_text(json.dumps(names))
    paths = [f"dtd/test/{one}/{index:04}.jpg" for one in folders for index in range(2)]
    random.shuffle(paths)
    pack(folder / "dtd.test.tar", {path: path.encode() for path in paths})

    found = class_names(folder, "dtd")
    assert list(found) == sorted(folders)
    assert found == {one: spoken(name) for one, name in names.items()}
    pictures = list(read_part(folder, "dtd", "test"))
    assert sorted(picture.path for picture in pictures) == sorted(paths)
    assert [picture.path.split("/") for picture in pictures] == sorted(p.split("/") for p in paths)
    for picture in pictures:
        assert picture.data == picture.path.encode()
        assert list(found)[picture.label] == picture.path.split("/")[2]
        assert picture.below_part == "/".join(picture.path.split("/")[2:])


def info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


GOOD = "dtd/test/dots/0000.jpg"


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (info("../dtd/test/dots/0000.jpg"), "leads outside"),
        (info("dtd/test/dots/../../../0.jpg"), "leads outside"),
        (info("/dtd/test/dots/0000.jpg"), "leads outside"),
        (info("..", tarfile.DIRTYPE), "leads outside"),
        (info(GOOD, tarfile.SYMTYPE, "/etc/passwd"), "link or device"),
        (info(GOOD, tarfile.LNKTYPE, GOOD), "link or device"),
        (info(GOOD, tarfile.FIFOTYPE), "link or device"),
        (info("dtd/train/dots/0000.jpg"), "wanted dtd/test/CLASS/FILE"),
        (info("dtd/test/0000.jpg"), "wanted dtd/test/CLASS/FILE"),
        (info("dtd/test/dots/a/0000.jpg"), "wanted dtd/test/CLASS/FILE"),
        (info("dtd/test/lines/0000.jpg"), "unknown class 'lines'"),
        (info("./" + GOOD.replace("0000", "0001")), "stands twice"),
    ],
)
def test_no_member_leads_elsewhere(tmp_path: Path, member: tarfile.TarInfo, why: str) -> None:
    (tmp_path / "dtd.names.json").write_text('{"dots": "dots"}')
    tar = tmp_path / "dtd.test.tar"
    write_tar(tar, [(info("dtd", tarfile.DIRTYPE), b""), (info(f"{GOOD[:-5]}1.jpg"), b"x")])
    assert len(list(read_part(tmp_path, "dtd", "test"))) == 1
    write_tar(tar, [(info(f"{GOOD[:-5]}1.jpg"), b"x"), (member, b"")])
    with pytest.raises(UserError, match=why) as raised:
        list(read_part(tmp_path, "dtd", "test"))
    assert str(tar) in str(raised.value)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("file", "harm", "why"),
    [
        ("dtd.test.tar", remove, "no such file"),
        ("dtd.test.tar", lambda path: path.write_bytes(b"no tar"), "cannot be read as a tar"),
        ("dtd.test.tar", lambda path: path.write_bytes(path.read_bytes()[:700]), "cannot be read"),
        ("dtd.names.json", remove, "No such file"),
        ("dtd.names.json", lambda path: path.write_text("{"), "no JSON"),
        ("dtd.names.json", lambda path: path.write_text("[]"), "found list"),
        ("dtd.names.json", lambda path: path.write_text('{"a/b": "x"}'), "'a/b', wanted the name"),
        ("dtd.names.json", lambda path: path.write_text('{"..": "x"}'), "wanted the name"),
        ("dtd.names.json", lambda path: path.write_text('{"dots": "_"}'), "wanted letters"),
    ],
)
def test_what_is_missing_or_damaged_is_named(
    tmp_path: Path, file: str, harm: Callable[[Path], object], why: str
) -> None:
    pack_dataset(tmp_path, "dtd", ["dots"], test=1)
    harm(tmp_path / file)
    with pytest.raises(UserError, match=why) as raised:
        list(read_part(tmp_path, "dtd", "test"))
    assert str(tmp_path / file) in str(raised.value)


def test_an_unknown_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'birds' is unknown, wanted one of cifar10"):
        class_names(tmp_path, "birds")


def test_what_is_no_picture_is_named() -> None:
    with pytest.raises(UserError, match=r"dtd/test/dots/0000.jpg: cannot be decoded"):
        decode(Picture(GOOD, 0, b"no picture"))


CLASSES = ["b_c", "b-c", "Ba", "no_picture"]


def test_what_is_unpacked_is_the_dataset_that_the_tars_hold(tmp_path: Path) -> None:
    pack_dataset(tmp_path, "dtd", CLASSES[:3], train=2, test=1)
    names = {name: name for name in CLASSES}
    (tmp_path / "dtd.names.json").write_text(json.dumps(names))
    folder = unpack(tmp_path, "dtd", tmp_path / "out")
    dataset = read_folder("dtd", folder, "{}")
    assert dataset.class_names == tuple(class_names(tmp_path, "dtd").values())
    for part, items in (("train", dataset.train), ("test", dataset.test)):
        pictures = list(read_part(tmp_path, "dtd", part))
        assert [(f"{part}/{one.below_part}", one.label) for one in pictures] == [*items]
        assert [(folder / one.path).read_bytes() for one in items] == [p.data for p in pictures]


def test_a_finished_folder_is_left_and_an_unfinished_one_never_seen(tmp_path: Path) -> None:
    pack_dataset(tmp_path, "dtd", ["dots"], train=1, test=1)
    tar, out = tmp_path / "dtd.test.tar", tmp_path / "out"
    whole = tar.read_bytes()
    tar.write_bytes(b"no tar")  # is met when the training pictures are written
    with pytest.raises(UserError):
        unpack(tmp_path, "dtd", out)
    assert not any(out.iterdir())
    tar.write_bytes(whole)
    folder = unpack(tmp_path, "dtd", out)
    for file in tmp_path.glob("dtd.*"):
        file.unlink()
    assert unpack(tmp_path, "dtd", out) == folder


def test_the_photographs_are_as_described(photos: Path, tmp_path: Path) -> None:  # noqa: F811
    for dataset in DATASETS:
        names = class_names(photos, dataset)
        assert names == {folder: spoken(folder) for folder in names}
        assert all((photos / f"{dataset}.{part}.tar").is_file() for part in PARTS)
    dataset = read_folder("dtd", unpack(photos, "dtd", tmp_path), DATASETS["dtd"].template)
    assert (len(dataset.class_names), len(dataset.train), len(dataset.test)) == (10, 240, 200)
