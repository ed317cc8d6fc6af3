import secrets
import sys
from collections import Counter
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from conftest import draw_folder
from pydantic import ValidationError

from bench.kills import disturb
from bench.quick import QuickEncoder, SameEncoder, quick_build, quick_plan
from fdbpl.cache import build as building
from fdbpl.cache import workers
from fdbpl.cache.encode import chunk_of
from fdbpl.cache.params import WorkerParams
from fdbpl.cache.views import views_of
from fdbpl.cache.workers import Job, encode_chunk, process_pool, thread_pool
from fdbpl.data.images import DECODER
from fdbpl.settings.params import check_params
from fdbpl.stages import run_stage
from fdbpl.stages.workers import local_pool
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from flows.workers import open_pool

IMAGES, CROPS = 9, 6
VIEWS = (IMAGES - 1) * CROPS + 1


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CHUNK_VIEWS", 8)


@pytest.fixture
def plan(tmp_path: Path, small_chunks: None):
    return quick_plan(tmp_path / "images", IMAGES, CROPS)


def build(tmp_path, plan, store="s", cache="c", encoder=None, pool=None, **options):
    where = [str(tmp_path / store), str(tmp_path / cache)]
    encoder = encoder or QuickEncoder()
    return quick_build(plan, tmp_path / "images", *where, encoder, pool, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Broken:
    """A pool of one whose workers die: the first so many times, for each chunk."""

    count, shares_memory = 1, False

    def __init__(self, deaths: int) -> None:
        self.deaths, self.seen = deaths, Counter()

    def submit(self, function, chunk) -> Future:
        future: Future = Future()
        self.seen[chunk.keys.tobytes()] += 1
        if self.seen[chunk.keys.tobytes()] <= self.deaths:
            future.set_exception(BrokenExecutor("killed"))
        else:
            future.set_result(function(chunk))
        return future


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_workers_write_what_one_process_writes(tmp_path, plan, kind) -> None:
    build(tmp_path, plan, "one", "alone")
    log = tmp_path / "log"
    with local_pool(WorkerParams(kind=kind, count=3)) as pool:
        counts = build(tmp_path, plan, pool=pool, encoder=QuickEncoder(log=str(log)))
        assert (counts.encoded, counts.reused, counts.faults) == (VIEWS, 0, ())
        assert log.stat().st_size == VIEWS
        assert contents(tmp_path / "c") == contents(tmp_path / "alone")
        assert build(tmp_path, plan, pool=pool).encoded == 0
    assert len(list(tmp_path.glob("s/*/*.segment"))) == -(-VIEWS // 8)


@pytest.mark.parametrize("url", ["memory://{}", "dir:///a::memory://{}"])
def test_a_store_in_memory_is_refused_where_workers_do_not_see_it(tmp_path, plan, url) -> None:
    url = url.format(tmp_path.name)
    store = [url, str(tmp_path / "c")]
    encoder = QuickEncoder()
    with pytest.raises(UserError, match=rf"cache\.store is {url}, .* workers\.kind threads"):
        quick_build(plan, tmp_path / "images", *store, encoder, Broken(0))
    with thread_pool(2) as pool:
        assert quick_build(plan, tmp_path / "images", *store, encoder, pool).encoded == VIEWS


def test_one_thread_is_this_process() -> None:
    with local_pool(WorkerParams()) as pool:
        assert pool is None
    with pytest.raises(UserError, match="'ray', wanted threads or processes"):
        local_pool(WorkerParams(kind="ray"))


def test_a_chunk_whose_worker_died_goes_to_another(tmp_path, plan) -> None:
    build(tmp_path, plan, "one", "alone")
    pool = Broken(workers.TRIES - 1)
    assert build(tmp_path, plan, pool=pool).encoded == VIEWS
    assert set(pool.seen.values()) == {workers.TRIES}
    assert contents(tmp_path / "c") == contents(tmp_path / "alone")


def test_a_chunk_that_kills_every_worker_is_named(tmp_path, plan) -> None:
    with pytest.raises(UserError, match=r"\.bmp and \d other images died 5 times.*memory"):
        build(tmp_path, plan, pool=Broken(workers.TRIES))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("open_pool", [thread_pool, process_pool])
def test_what_a_worker_says_reaches_the_user_and_the_rest_is_kept(
    tmp_path, plan, open_pool
) -> None:
    (tmp_path / "images" / plan.paths[3]).write_bytes(b"no image")
    with open_pool(2) as pool, pytest.raises(UserError, match=rf"{plan.paths[3]}.*prepare-crops"):
        build(tmp_path, plan, pool=pool)
    assert not (tmp_path / "c").exists()
    assert len(list(tmp_path.glob("s/*/*.segment"))) >= 1


@pytest.mark.parametrize(
    ("fields", "decoder", "said"),
    [
        ({"numerics": "cpu AVX2"}, DECODER, 'numerics is absent on a worker, wanted "cpu AVX2"'),
        ({}, "fdbpl-0/pillow-1", f'decoder is "{DECODER}" on a worker, wanted "fdbpl-0/pillow-1"'),
    ],
)
def test_an_encoder_of_another_kind_is_refused_before_it_writes(
    tmp_path, plan, monkeypatch, fields, decoder, said
) -> None:
    monkeypatch.setattr(workers, "_made", {})
    encoder = QuickEncoder()
    chunk = chunk_of(plan, views_of(plan, "ab", slice(0, 5)))
    job = Job(
        home=tmp_path,
        folder=tmp_path / "images",
        store=str(tmp_path / "s"),
        digest="ab",
        about={"decoder": decoder, "encoder": {**encoder.fingerprint, **fields}},
        threads=1,
        make_encoder=SameEncoder(encoder),
    )
    with pytest.raises(UserError, match=said):
        encode_chunk(job, chunk)
    assert not (tmp_path / "s").exists()


def test_builds_at_once_share_the_work(tmp_path, small_chunks, monkeypatch) -> None:
    monkeypatch.setattr(building, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(building, "REFRESH_SHARE", 1.0)
    plan = quick_plan(tmp_path / "images", 31, CROPS)
    views = 30 * CROPS + 1
    build(tmp_path, plan, "one", "alone")
    starts = iter((0, 12))  # of 23 chunks
    monkeypatch.setattr(secrets, "randbelow", lambda below: next(starts))
    log = tmp_path / "log"

    def one(pool) -> int:
        encoder = QuickEncoder(seconds=0.005, log=str(log))
        return build(tmp_path, plan, encoder=encoder, pool=pool).encoded

    with ThreadPoolExecutor(2) as both, thread_pool(2) as pool:
        encoded = sum(both.map(one, [None, pool]))
    assert encoded == log.stat().st_size
    assert views <= encoded <= 1.6 * views  # each looks before every chunk; those in work may meet
    assert contents(tmp_path / "c") == contents(tmp_path / "alone")


@pytest.mark.parametrize("rows", [7, 16, 49])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_plan_taken_in_parts_gives_the_same_bytes(
    tmp_path, plan, monkeypatch, rows, pooled
) -> None:
    monkeypatch.setattr(building, "SHARD_BYTES", 7 * 32)
    build(tmp_path, plan, "one", "alone")
    monkeypatch.setattr(building, "PART_VIEWS", rows)
    seen: list[tuple[int, int]] = []
    with thread_pool(2) if pooled else nullcontext() as pool:
        counts = build(tmp_path, plan, pool=pool, progress=lambda *done: seen.append(done))
    assert (counts.encoded, counts.reused) == (VIEWS, 0)
    assert contents(tmp_path / "c") == contents(tmp_path / "alone")
    assert seen[-1] == (VIEWS, VIEWS)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_missing_extra_is_named(monkeypatch, kind) -> None:
    monkeypatch.setitem(sys.modules, f"prefect_{kind}.task_runners", None)
    with (
        pytest.raises(UserError, match=rf"workers.kind is '{kind}'.*pip install 'fdbpl\[{kind}\]'"),
        open_pool(WorkerParams(kind=kind)),
    ):
        pass


def test_an_address_is_of_a_cluster() -> None:
    with pytest.raises(ValidationError, match="an address only of dask and ray, not of threads"):
        WorkerParams(address="tcp://scheduler:8786")


@pytest.mark.slow
def test_the_stage_writes_the_same_caches_by_processes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(building, "CHUNK_VIEWS", 8)
    pictures = draw_folder(tmp_path / "birds", {f"bird {c}": (3, 2) for c in "abcd"})
    written = []
    for name, chosen in (("alone", {}), ("together", {"kind": "processes", "count": 2})):
        params = check_params(
            {
                "datasets": ["birds"],
                "methods": ["coop"],
                "shots": 2,
                "regions": {"per_image": 4},
                "data": {"own": {"birds": {"folder": str(pictures)}}},
                "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
                "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
                "cache": {"batch": 4, "store": str(tmp_path / f"store {name}")},
                "workers": chosen,
            }
        )
        work = Workspace(tmp_path / name)
        run_stage("prepare_crops", params, work, "birds")
        run_stage("cache_teacher", params, work, "birds", open_pool)
        written.append([contents(work.cache("birds", role)) for role in ("teacher", "student")])
    assert written[0] == written[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "seconds", "kills"),  # each of Dask's and Ray's builds starts servers first
    [("threads", 0.004, 10), ("processes", 0.004, 10), ("dask", 0.02, 4), ("ray", 0.02, 2)],
)
def test_killed_at_random_moments_a_build_resumes(tmp_path, kind, seconds, kills) -> None:
    if kind in ("dask", "ray"):  # extras
        pytest.importorskip(f"prefect_{kind}")
    tally = disturb(tmp_path, kind, kills=kills, seconds=seconds)
    assert tally.faults == []
    assert tally.kills == kills
    assert tally.builds >= 1


@pytest.mark.slow
def test_a_build_on_dask_outlives_two_of_its_workers(tmp_path) -> None:
    pytest.importorskip("prefect_dask")
    tally = disturb(tmp_path, "dask", kills=2, victims=("worker",), seconds=0.02)
    assert tally.faults == []
    assert (tally.kills, tally.builds) == (2, 1)
