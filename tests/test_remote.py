"""A store and a cache at s3:// URLs: built, read and verified like any, and no secret anywhere."""

import fsspec
import pytest
from builds import FakeEncoder, build, contents, draw_images, make_plan
from s3 import S3

from fdbpl.cache import RegionStore, open_cache
from fdbpl.system.errors import UserError

SECRETS = (b"key-of-tests", b"secret-of-tests")


@pytest.fixture
def folder(tmp_path):
    draw_images(tmp_path / "images")
    return tmp_path / "images"


def objects(s3: S3) -> dict[str, bytes]:
    fs = fsspec.filesystem("s3")
    fs.invalidate_cache()
    return {path: fs.cat_file(path) for path in fs.find(s3.bucket)}


@pytest.mark.parametrize("payload", ["float16", "int8"])
def test_a_cache_on_s3_is_the_one_on_disk(tmp_path, folder, s3: S3, payload: str) -> None:
    plan, encoder = make_plan(folder), FakeEncoder()
    store = f"{s3.url}/store"
    counts = build(
        plan, folder, encoder, RegionStore(store), f"{s3.url}/c/teacher", payload=payload
    )
    assert counts.reused == 0
    again = build(plan, folder, encoder, RegionStore(store), tmp_path / "c", payload=payload)
    assert again.encoded == 0
    on_s3 = {
        path.rsplit("/", 1)[-1]: data
        for path, data in objects(s3).items()
        if path.startswith(f"{s3.bucket}/c/teacher/")
    }
    assert on_s3 == contents(tmp_path / "c")
    cache = open_cache(f"{s3.url}/c/teacher", {"kind": "teacher", "plan": plan.digest})
    assert (cache.features("train") == open_cache(tmp_path / "c").features("train")).all()
    assert cache.verify() == []


def test_no_secret_is_written_or_said(tmp_path, folder, s3: S3, caplog, capfd) -> None:
    plan = make_plan(folder)
    with caplog.at_level("INFO"):
        build(plan, folder, FakeEncoder(), RegionStore(f"{s3.url}/store"), f"{s3.url}/c/teacher")
        with pytest.raises(UserError) as missing:
            open_cache(f"{s3.url}/none")
    said = (caplog.text + "".join(capfd.readouterr()) + str(missing.value)).encode()
    written = [*objects(s3).values(), said]
    written += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [secret for secret in SECRETS for data in written if secret in data]


def test_reading_needs_no_listing(folder, s3: S3, monkeypatch) -> None:
    from s3fs import S3FileSystem

    plan = make_plan(folder)
    build(plan, folder, FakeEncoder(), RegionStore(f"{s3.url}/store"), f"{s3.url}/c/teacher")

    async def refuse(*args, **options):
        raise PermissionError("this user may not list")

    for name in ("_lsdir", "_ls", "_find", "_iterdir"):
        monkeypatch.setattr(S3FileSystem, name, refuse)
    cache = open_cache(f"{s3.url}/c/teacher")
    assert cache.features("train").shape == (len(plan.regions), 8)
    assert cache.verify() == []


def test_the_same_url_holds_the_newest_whole_cache(folder, s3: S3) -> None:
    url, store = f"{s3.url}/c/teacher", RegionStore(f"{s3.url}/store")
    digests = set()
    for crops in (2, 3):
        plan = make_plan(folder, crops=crops)
        build(plan, folder, FakeEncoder(), store, url)
        cache = open_cache(url)
        assert cache.manifest.tables["train"].rows == len(plan.regions)
        assert cache.verify() == []
        digests.add(cache.manifest.digest)
    assert len(digests) == 2
    assert sum("/c/teacher/" in path for path in objects(s3)) == 3  # manifest, train, test
