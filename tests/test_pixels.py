"""The pixels of regions: what a cache keeps of them is what the student's tower is given."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builds import CROPS, Lab
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_pipeline import decision, run_all, small_params
from test_preprocessing import noise_image, ways

from fdbpl.cache import Cache, Counts, RegionStore
from fdbpl.cache import pixels as caching
from fdbpl.cache.manifest import OtherCache
from fdbpl.cache.pixels import add_green, build_pixels, less_green, pixels_digest
from fdbpl.cache.upkeep import held_keys, sweep
from fdbpl.cli import main
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.data.images import ChangedImage, decode
from fdbpl.methods.pixels import normalised
from fdbpl.regions.boxes import REGION
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.caches import open_pixels
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

WAY = Preprocessing(16, (0.48, 0.45, 0.4), (0.27, 0.26, 0.28), "bicubic", "shortest")
REGIONS = 8 * CROPS
TESTS = 4
VIEWS = REGIONS + TESTS

# CoOp that looks whether its pixels are those that the student's features were encoded from.
SEEING = """
import torch

from fdbpl.methods.coop import CoOp
from fdbpl.methods.pixels import normalised


class Seeing(CoOp):
    image_layer = 0

    def loss(self, tensors, batch, data):
        pixels = normalised(batch.require("pixels"), data.clip.preprocessing)
        with torch.no_grad():
            features = data.clip.network.encode_image(pixels.flatten(0, 1), normalize=True)
        apart = (features - batch.student.flatten(0, 1)).abs().max()
        assert apart < 1e-5, apart
        return super().loss(tensors, batch, data)
"""


class Stopped(Exception):  # noqa: N818 - as the word is
    """What a killed build raises here."""


class Cropper:
    """Cuts as WAY does, so many times, then is killed."""

    of_views = WAY.of_views
    image_size = WAY.image_size

    def __init__(self, views: int) -> None:
        self.left = views

    def view(self, image, box, flip) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise Stopped
        return WAY.view(image, box, flip)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def built(lab: Lab, plan=None, way=WAY, name: str = "c", **options) -> Counts:
    return build_pixels(plan or lab.plan(), lab.folder, way, lab.root / name, **options)


def kept(cache: Cache, rows: np.ndarray) -> np.ndarray:
    found = cache.columns("train", "pixels", rows=rows)["pixels"]
    for one in found:
        add_green(one)
    return found


def seen(lab: Lab, plan, row: int, way=WAY) -> np.ndarray:
    region = plan.regions[row]
    image = decode(lab.folder / plan.paths[region["image"]])
    return way.view(image, tuple(region["box"].tolist()), bool(region["flip"]))


@given(pixels=arrays(np.uint8, st.tuples(st.just(3), st.integers(1, 9), st.integers(1, 9))))
def test_planes_less_green_give_back_the_colours(pixels: np.ndarray) -> None:
    planes = less_green(pixels)
    add_green(planes)
    assert (planes == pixels).all()


@given(way=ways, seed=st.integers(0, 99), flip=st.booleans())
@settings(max_examples=25, deadline=None)
def test_normalised_they_are_bit_for_bit_what_is_encoded(way, seed: int, flip: bool) -> None:
    image, box = noise_image(seed, 31, 40), (3, 5, 3 + seed % 20 + 1, 30)
    view = way.view(image, box, flip)
    wanted = way.pixels(image, box, flip)
    assert (
        normalised(torch.from_numpy(view[None].copy()), way)[0].numpy().tobytes()
        == wanted.tobytes()
    )
    shifted = (view / 255 - np.reshape(way.mean, (3, 1, 1))) / np.reshape(way.std, (3, 1, 1))
    assert np.abs(shifted - wanted).max() < 1e-6 / min(way.std) + 1e-5


@pytest.mark.parametrize("size", [1, 7, 33])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_cache_holds_the_pixels_of_every_region(lab: Lab, size: int, interpolation) -> None:
    way, plan = replace(WAY, image_size=size, interpolation=interpolation), lab.plan()
    assert built(lab, plan, way) == Counts(VIEWS, 0, ())
    cache = lab.open()
    rows = np.random.default_rng(size).permutation(REGIONS)[:17]
    for row, found in zip(rows.tolist(), kept(cache, rows), strict=True):
        assert (found == seen(lab, plan, row, way)).all()
    for name in REGION.names:
        assert (cache.column("train", name) == plan.regions[name]).all()
    tested = cache.columns("test", "key", "image", "pixels")
    assert len(tested["key"]) == TESTS
    for row, found in zip(plan.test.tolist(), tested["pixels"], strict=True):
        add_green(found)
        assert (found == way.view(decode(lab.folder / plan.paths[row]))).all()
    assert tested["image"].tolist() == plan.test.tolist()
    assert cache.verify() == []


@pytest.mark.parametrize("after", [0, 1, 13, 25, 39, 43])
def test_an_interrupted_build_resumes_to_the_same_bytes(lab: Lab, after: int, monkeypatch) -> None:
    monkeypatch.setattr(caching, "SHARD_BYTES", 6 * 3 * 16 * 16)
    built(lab, name="whole")
    with pytest.raises(Stopped):
        built(lab, way=Cropper(after), threads=1)
    assert built(lab).reused == (REGIONS if after >= REGIONS else after // 6 * 6)
    assert lab.contents() == lab.contents("whole")
    assert built(lab) == Counts(0, VIEWS, ())
    assert lab.contents() == lab.contents("whole")


def test_what_a_plan_shares_with_the_one_before_is_taken_up(lab: Lab, monkeypatch) -> None:
    monkeypatch.setattr(caching, "SHARD_BYTES", 10 * 3 * 16 * 16)
    built(lab, lab.plan(train=4))
    assert built(lab).reused == 20  # and no test image, which stand at other places
    built(lab, name="anew")
    assert lab.contents() == lab.contents("anew")


def test_a_damaged_shard_is_named_and_cut_again(lab: Lab, monkeypatch) -> None:
    monkeypatch.setattr(caching, "SHARD_BYTES", 6 * 3 * 16 * 16)
    built(lab, name="whole")
    built(lab)
    victim = sorted((lab.root / "c").glob("train-*"))[2]
    data = bytearray(victim.read_bytes())
    data[-9] ^= 4
    victim.write_bytes(data)
    said = CliRunner().invoke(main, ["cache", "verify", str(lab.root / "c")])
    assert (said.exit_code, victim.name in said.output) == (1, True)
    assert built(lab) == Counts(6, VIEWS - 6, ())
    assert lab.contents() == lab.contents("whole")


def test_what_decides_the_pixels_decides_their_keys(lab: Lab, monkeypatch) -> None:
    others = ({"image_size": 17}, {"interpolation": "bilinear"}, {"resize_mode": "squash"})
    digests = {pixels_digest(way) for way in (WAY, *(replace(WAY, **one) for one in others))}
    assert len(digests) == 4
    alike = replace(WAY, mean=(0.1, 0.2, 0.3), std=(0.1, 0.2, 0.3))
    assert pixels_digest(alike) == pixels_digest(WAY)
    monkeypatch.setattr(caching, "DECODER", "fdbpl-2/pillow-99")
    assert pixels_digest(WAY) not in digests


def test_the_commands_for_caches_know_it(lab: Lab) -> None:
    built(lab)
    lab.build(cache="teacher")
    ls, inspect, verify = (
        CliRunner().invoke(main, ["cache", *words]).output
        for words in (
            ("ls", str(lab.root)),
            ("inspect", str(lab.root / "c")),
            ("verify", str(lab.root)),
        )
    )
    row = ls.splitlines()[1].split()
    assert [*row[:4], *row[5:7]] == ["drawn", "pixels", str(REGIONS), str(TESTS), "uint8", "none"]
    assert "pixels |u1[3, 16, 16]" in inspect
    assert verify.startswith("sound: 2 caches and ")
    words = ["cache", "inspect", str(lab.root / "c"), "--out", str(lab.root / "x.png")]
    assert "no class vectors" in CliRunner().invoke(main, words).output


def test_cleaning_the_store_asks_it_for_nothing(lab: Lab) -> None:
    built(lab)
    lab.build(cache="teacher")
    with_pixels = held_keys([lab.root / "c", lab.root / "teacher"])
    [done] = sweep(lab.root / "s", with_pixels, delete=False)
    assert (done.kept, done.dropped) == (REGIONS + 4, 0)


def test_a_changed_image_and_an_empty_plan(lab: Lab) -> None:
    plan = lab.plan()
    empty = replace(plan, regions=plan.regions[:0])
    assert built(lab, empty, name="empty") == Counts(TESTS, 0, ())
    assert lab.open("empty").column("train", "pixels").shape == (0, 3, 16, 16)
    path = lab.folder / plan.paths[1]
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ChangedImage, match=path.name):
        built(lab, plan)
    assert RegionStore(lab.root / "s").faults == ()


def pixel_params(root: Path, methods: list[str]) -> Params:
    (root / "seeing.py").write_text(SEEING, encoding="utf-8")
    given = [f"{root / 'seeing.py'}:{one}" if one == "Seeing" else one for one in methods]
    return small_params(root, given)


def test_a_method_that_reads_pixels_sees_those_its_features_are_of(tmp_path: Path) -> None:
    params, work = pixel_params(tmp_path, ["coop", "Seeing"]), Workspace(tmp_path / "work")
    said = run_all(params, work)
    assert "here: pixels cut 42, reused 0" in said["cache_teacher"]
    again = run_stage("cache_teacher", params, work, "here")
    assert "here: pixels cut 0, reused 42" in again
    ours, coop = (decision(params, work, name) for name in ("Seeing", "coop"))
    np.testing.assert_array_equal(ours.vectors, coop.vectors)


def test_it_is_built_for_such_a_method_alone_and_changes_no_other(tmp_path: Path) -> None:
    digests = []
    for name, methods in (("without", ["coop"]), ("with", ["coop", "Seeing"])):
        params, work = pixel_params(tmp_path, methods), Workspace(tmp_path / name)
        for stage in ("prepare_crops", "cache_teacher"):
            run_stage(stage, params, work, "here")
        assert work.cache("here", "pixels").exists() == (name == "with")
        others = sorted((work.root / "caches/here").glob("[!p]*/*"))
        digests.append([(one.name, one.read_bytes()) for one in others])
    assert digests[0] == digests[1]
    plan, folder = Plan.load(work.plan("here")), work.cache("here", "pixels")
    with pytest.raises(OtherCache, match=r"encoder.image_size is \d+, wanted 16"):
        open_pixels(plan, work, WAY)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(UserError, match="cache-teacher"):
        run_stage("train_student", params, work, "here")
