"""`fdbpl cache verify | ls | inspect | gc`: what they say, and their exit codes."""

import io
import os
import shutil
from pathlib import Path

import fsspec
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image
from test_place import refuse_listing
from workspaces import draw, prepare, workspace_params

from fdbpl.cache.cache import open_cache
from fdbpl.cache.place import Place
from fdbpl.cli import main
from fdbpl.settings.params import Params
from fdbpl.system.workspace import Workspace

SECRETS = ("key-of-tests", "secret-of-tests")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["cache", *map(str, words)])


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    params = workspace_params(tmp_path_factory.mktemp("made"), ["birds", "ships"])
    for name in params.datasets:
        draw(params, name)
        prepare(params, name, Workspace(Path(params.data.own[name].folder).parents[1]))
    return params


@pytest.fixture
def root(params: Params, tmp_path: Path) -> Path:
    """A workspace of two datasets, with its store, to be damaged at will."""
    made = Path(params.data.own["birds"].folder).parents[1]
    for part in ("caches", "plans", "store", "pictures"):
        shutil.copytree(made / part, tmp_path / part)
    raw = params.model_dump(mode="json")
    raw["data"]["own"] = {
        name: {"folder": str(tmp_path / "pictures" / name)} for name in params.datasets
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path


def damage(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_verify_says_sound_and_what_was_read(root: Path) -> None:
    one = run("verify", root / "caches" / "birds" / "teacher")
    assert one.exit_code == 0, one.output
    assert one.stdout.startswith("sound: 1 cache and 0 segments")
    everything = run("verify", root)
    assert everything.exit_code == 0
    assert "4 caches and" in everything.stdout
    assert "4 caches and 0 segments" not in everything.stdout
    assert run("verify", root / "store").stdout.startswith("sound: 0 caches and ")


def test_verify_names_every_damaged_file_and_ends_with_one(root: Path) -> None:
    shard = next((root / "caches" / "birds" / "student").glob("train-*.shard"))
    manifest = root / "caches" / "ships" / "teacher" / "manifest.json"
    segment = next((root / "store").glob("*/*.segment"))
    for path in (shard, manifest, segment):
        damage(path, 60)
    gone = next((root / "caches" / "ships" / "student").glob("test-*.shard"))
    gone.unlink()
    found = run("verify", root)
    assert found.exit_code == 1
    for path in (shard, manifest, segment, gone):
        name = path.name if path.name != "manifest.json" else "ships/teacher/manifest.json"
        assert sum(name in line for line in found.stdout.splitlines()) == 1
    assert "4 faults" in found.stdout
    alone = run("verify", shard.parent)
    assert (alone.exit_code, alone.stdout.count(shard.name)) == (1, 1)


def test_verify_finds_a_whole_segment_under_anothers_name(root: Path) -> None:
    first, second = sorted((root / "store").glob("*/*.segment"))[:2]
    first.write_bytes(second.read_bytes())
    found = run("verify", root / "store")
    assert found.exit_code == 1
    assert first.name in found.stdout
    assert "named by" in found.stdout


def test_what_cannot_be_read_ends_with_two(root: Path) -> None:
    for url in (root / "plans", root / "none", "nonsense://bucket"):
        for command in ("verify", "ls", "inspect"):
            result = run(command, url)
            assert result.exit_code == 2, (command, url)
            assert result.stdout == ""
            assert result.stderr.startswith("error: ")
            assert result.stderr.count("\n") == 1
    shard = next((root / "caches" / "birds" / "student").glob("train-*.shard"))
    shard.unlink()
    shard.mkdir()
    assert run("verify", shard.parent).exit_code == 2


class Failing(io.FileIO):
    """A file of a disk that fails after the file was opened."""

    def readinto(self, *_) -> int:
        raise OSError(5, "Input/output error")

    read = readinto


def test_a_disk_that_fails_while_it_is_read_ends_with_two_naming_the_file(
    root: Path, monkeypatch
) -> None:
    monkeypatch.setattr(Place, "open", lambda place, name, **_: Failing(place.url(name)))
    caches = root / "caches" / "birds"
    for words in (["verify", caches], ["gc", root / "store", caches, "--delete"]):
        result = run(*words)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith(f"error: {caches}/student/t")
        assert ".shard: cannot be read ([Errno 5] Input/output error)" in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_store_that_does_not_answer_ends_with_two(s3, monkeypatch) -> None:
    from fdbpl.cache import place

    monkeypatch.setattr(place, "BACKOFF_SECONDS", ())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(fsspec.filesystem("s3")).clear_instance_cache()
    for command in ("verify", "ls", "inspect"):
        result = run(command, s3.url)
        assert result.exit_code == 2, result.output
        assert "cannot be read" in result.stderr
        assert result.stderr.count("\n") == 1


def test_another_format_ends_with_two(root: Path) -> None:
    path = root / "caches" / "birds" / "teacher" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 3'))
    result = run("verify", path.parent)
    assert result.exit_code == 2
    assert "version 3, this fdbpl reads 2" in result.stderr


def test_ls_lists_caches_with_dataset_kind_rows_bytes_and_teacher(root: Path) -> None:
    said = run("ls", root).stdout.splitlines()
    heads = "dataset kind regions tests bytes payload model where"
    assert said[0].split() == heads.split()
    assert [line.split()[:4] for line in said[1:]] == [
        ["birds", "student", "10", "28"],
        ["birds", "teacher", "10", "28"],
        ["ships", "student", "10", "28"],
        ["ships", "teacher", "10", "28"],
    ]
    manifest = open_cache(root / "caches" / "ships" / "teacher").manifest
    size = sum(s.bytes for t in manifest.tables.values() for s in t.shards)
    assert said[4].split()[4:8] == [f"{size:,}", "float16", "large", "(tiny)"]
    damage(root / "caches" / "birds" / "student" / "manifest.json", 60)
    said = run("ls", root).stdout.splitlines()
    assert len(said) == 5
    assert "birds/student/manifest.json: damaged" in said[-1]


def test_inspect_prints_every_field_of_the_identity(root: Path) -> None:
    said = run("inspect", root / "caches" / "birds" / "teacher").stdout
    identity = open_cache(root / "caches" / "birds" / "teacher").manifest.identity
    for line in (
        "kind teacher",
        "model.source tiny",
        "encoder.architecture large",
        "dataset birds",
        f"images {identity.images}",
        "policy.generator philox-1",
        "payload.name float16",
        f"plan {identity.plan}",
    ):
        assert line in [" ".join(words.split()) for words in said.splitlines()]
    assert "key |u1[16], image <u4, crop <u4, box <i4[4], flip |u1, feature <f2[8]" in said


@pytest.mark.parametrize("count", ["0", "-3", "201", "many"])
def test_inspect_draws_a_page_of_regions_at_most(root: Path, count: str) -> None:
    out = root / "x.png"
    result = run("inspect", root / "caches/birds/teacher", "--out", out, "--count", count)
    assert result.exit_code == 2
    assert "--count" in result.stderr
    assert not out.exists()


def test_inspect_draws_regions(root: Path) -> None:
    cache, params = root / "caches" / "birds" / "teacher", root / "params.yaml"
    out = root / "out.png"
    result = run("inspect", cache, "--params", params, "--out", out, "--count", 5)
    assert result.exit_code == 0, result.output
    assert f"5 regions drawn: {out}" in result.stdout
    few = Image.open(out).size
    assert run("inspect", cache, "--params", params, "--out", out).exit_code == 0
    assert Image.open(out).size[1] > few[1]
    moved = root / "elsewhere"
    cache.rename(moved)
    result = run("inspect", moved, "--params", params, "--out", out)
    assert result.exit_code == 2
    assert "Say --plan" in result.stderr
    plan = root / "plans" / "birds"
    result = run("inspect", moved, "--params", params, "--out", out, "--plan", plan)
    assert result.exit_code == 0, result.output
    other = root / "plans" / "ships"
    result = run("inspect", moved, "--params", params, "--out", out, "--plan", other)
    assert result.exit_code == 2
    assert "another plan" in result.stderr


def test_gc_says_what_it_would_do_and_does_it_when_told(root: Path) -> None:
    shutil.rmtree(root / "caches" / "ships")
    half = next((root / "store").glob("*/*.segment"))
    half = half.with_name(f".{half.name}.x1y2z3")
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    before = {path: path.read_bytes() for path in root.glob("store/*/*")}
    would = run("gc", root / "store", root / "caches")
    assert would.exit_code == 0, would.output
    assert "nothing was changed: say --delete" in would.stdout
    assert "would remove 1 half-written" in would.stdout
    assert {path: path.read_bytes() for path in root.glob("store/*/*")} == before
    done = run("gc", root / "store", root / "caches", "--delete")
    assert done.exit_code == 0
    assert "freed" in done.stdout
    assert "removed 1 half-written" in done.stdout
    assert not half.exists()
    assert {path: path.read_bytes() for path in root.glob("store/*/*")} != before
    assert run("verify", root).exit_code == 0
    again = run("gc", root / "store", root / "caches", "--delete").stdout
    assert "removed 0" in again
    assert "half-written" not in again
    assert run("gc", root / "store", root / "plans").exit_code == 2
    assert run("gc", root / "caches", root / "caches").exit_code == 2


def test_gc_keeps_what_caches_behind_links_hold(root: Path) -> None:
    (root / "runs" / "default").mkdir(parents=True)
    (root / "runs" / "default" / "caches").symlink_to(root / "caches")
    done = run("gc", root / "store", root / "runs", "--delete")
    assert done.exit_code == 0, done.output
    assert "removed 0" in done.stdout
    assert "4 caches" in run("verify", root / "runs").stdout
    assert len(run("ls", root / "runs").stdout.splitlines()) == 5


def test_gc_deletes_nothing_when_a_folder_cannot_be_listed(root: Path, monkeypatch) -> None:
    before = {path: path.read_bytes() for path in root.glob("store/*/*")}
    with monkeypatch.context() as patch:
        refuse_listing(patch, str(root / "caches" / "ships"))
        refused = run("gc", root / "store", root / "caches", "--delete")
    assert refused.exit_code == 2, refused.output
    assert refused.stderr.startswith(f"error: {root / 'caches' / 'ships'}: cannot be read")
    assert refused.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in root.glob("store/*/*")} == before


def test_all_of_it_on_s3(root: Path, s3) -> None:
    fs = fsspec.filesystem("s3")
    for part in ("caches", "store"):
        fs.put(str(root / part), f"{s3.bucket}/{part}", recursive=True)
    said = [
        run("verify", s3.url),
        run("verify", f"{s3.url}/caches/birds/teacher"),
        run("ls", s3.url),
        run("inspect", f"{s3.url}/caches/birds/teacher"),
        run("gc", f"{s3.url}/store", f"{s3.url}/caches", "--delete"),
    ]
    assert [one.exit_code for one in said] == [0] * 5, [one.output for one in said]
    assert f"{s3.url}/caches/ships/student" in said[2].stdout
    params, plan = root / "params.yaml", root / "plans" / "birds"
    words = (
        "inspect",
        f"{s3.url}/caches/birds/teacher",
        "--params",
        params,
        "--out",
        root / "x.png",
    )
    assert "Say --plan" in run(*words).stderr
    assert run(*words, "--plan", plan).exit_code == 0
    shard = fs.glob(f"{s3.bucket}/caches/birds/teacher/train-*")[0]
    fs.pipe_file(shard, fs.cat_file(shard)[:-1])
    broken = run("verify", s3.url)
    assert broken.exit_code == 1
    assert shard.rsplit("/", 1)[-1] in broken.stdout
    assert not any(secret in one.output for one in [*said, broken] for secret in SECRETS)
