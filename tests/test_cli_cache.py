"""`fdbpl cache verify | ls | inspect | gc`: what they say, and their exit codes."""

import io
import os
import shutil
from pathlib import Path

import fsspec
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image
from test_place import refuse_listing
from workspaces import draw, prepare, workspace_params

from fdbpl.cache.cache import open_cache
from fdbpl.cache.place import Place
from fdbpl.cli import main
from fdbpl.settings.params import Params
from fdbpl.system.workspace import Workspace

SECRETS = ("key-of-tests", "secret-of-tests")


def run(*words: object, code: int = 0) -> str:
    """What a command says; of a mistake (2) the one line of its error."""
    result = CliRunner().invoke(main, ["cache", *map(str, words)])
    assert result.exit_code == code, result.output
    if code != 2:
        return result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    params = workspace_params(
        tmp_path_factory.mktemp("made"), ["birds", "ships"], methods=["zero_shot", "coop"]
    )
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


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.glob("store/*/*")}


def test_verify_says_sound_and_what_was_read(root: Path) -> None:
    said = run("verify", root / "caches/birds/teacher")
    assert said.startswith("sound: 1 cache and 0 segments")
    said = run("verify", root)
    assert "4 caches and" in said
    assert "4 caches and 0 segments" not in said
    assert run("verify", root / "store").startswith("sound: 0 caches and ")


def test_verify_names_every_damaged_file_and_ends_with_one(root: Path) -> None:
    shard = next((root / "caches/birds/student").glob("train-*.shard"))
    manifest = root / "caches/ships/teacher/manifest.json"
    segment = next((root / "store").glob("*/*.segment"))
    for path in (shard, manifest, segment):
        damage(path, 60)
    gone = next((root / "caches/ships/student").glob("test-*.shard"))
    gone.unlink()
    said = run("verify", root, code=1)
    for name in (shard.name, "ships/teacher/manifest.json", segment.name, gone.name):
        assert sum(name in line for line in said.splitlines()) == 1
    assert "4 faults" in said
    assert run("verify", shard.parent, code=1).count(shard.name) == 1


def test_verify_finds_a_whole_segment_under_anothers_name(root: Path) -> None:
    first, second = sorted((root / "store").glob("*/*.segment"))[:2]
    first.write_bytes(second.read_bytes())
    said = run("verify", root / "store", code=1)
    assert first.name in said
    assert "its SHA-256 is" in said


@pytest.mark.parametrize("command", ["verify", "ls", "inspect"])
def test_what_cannot_be_read_ends_with_two(root: Path, command: str) -> None:
    for url in (root / "plans", root / "none", "nonsense://bucket"):
        run(command, url, code=2)
    shard = next((root / "caches/birds/student").glob("train-*.shard"))
    shard.unlink()
    shard.mkdir()
    run("verify", shard.parent, code=2)


class Failing(io.FileIO):
    """A file of a disk that fails after the file was opened."""

    def readinto(self, *_) -> int:
        raise OSError(5, "Input/output error")

    read = readinto


@pytest.mark.parametrize("words", [["verify"], ["gc", "store", "--delete"]])
def test_a_disk_that_fails_while_it_is_read_ends_with_two_naming_the_file(
    root: Path, monkeypatch, words: list[str]
) -> None:
    monkeypatch.setattr(Place, "open", lambda place, name, **_: Failing(place.url(name)))
    monkeypatch.chdir(root)
    said = run(*words, root / "caches/birds", code=2)
    assert said.startswith(f"error: {root}/caches/birds/student/t")
    assert ".shard: cannot be read ([Errno 5] Input/output error)" in said


@pytest.mark.parametrize("command", ["verify", "ls", "inspect"])
def test_a_store_that_does_not_answer_ends_with_two(s3, monkeypatch, command: str) -> None:
    from fdbpl.cache import place

    monkeypatch.setattr(place, "BACKOFF_SECONDS", ())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(fsspec.filesystem("s3")).clear_instance_cache()
    assert "cannot be read" in run(command, s3.url, code=2)


def test_another_format_ends_with_two(root: Path) -> None:
    path = root / "caches/birds/teacher/manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 3'))
    assert "version 3, this fdbpl reads 2" in run("verify", path.parent, code=2)


def test_ls_lists_caches_with_dataset_kind_rows_bytes_and_teacher(root: Path) -> None:
    said = run("ls", root).splitlines()
    heads = "dataset kind regions tests bytes payload model where"
    assert said[0].split() == heads.split()
    kinds = [(name, kind) for name in ("birds", "ships") for kind in ("student", "teacher")]
    assert [line.split()[:4] for line in said[1:]] == [[*one, "10", "28"] for one in kinds]
    manifest = open_cache(root / "caches/ships/teacher").manifest
    size = sum(s.bytes for t in manifest.tables.values() for s in t.shards)
    assert said[4].split()[4:8] == [f"{size:,}", "float16", "large", "(tiny)"]
    damage(root / "caches/birds/student/manifest.json", 60)
    said = run("ls", root).splitlines()
    assert len(said) == 5
    assert "birds/student/manifest.json: damaged" in said[-1]


def test_inspect_prints_every_field_of_the_identity(root: Path) -> None:
    said = run("inspect", root / "caches/birds/teacher").splitlines()
    identity = open_cache(root / "caches/birds/teacher").manifest.identity
    for line in (
        *("kind teacher", "model.source tiny", "encoder.architecture large", "dataset birds"),
        *(f"images {identity.images}", "policy.generator philox-1", "payload.name float16"),
        f"plan {identity.plan}",
        "key |u1[16], image <u4, crop <u4, box <i4[4], flip |u1, feature <f2[8]",
    ):
        assert any(" ".join(one.split()).endswith(line) for one in said), line


@pytest.mark.parametrize("count", ["0", "-3", "201", "many"])
def test_inspect_draws_a_page_of_regions_at_most(root: Path, count: str) -> None:
    words = ["inspect", root / "caches/birds/teacher", "--out", root / "x.png", "--count", count]
    result = CliRunner().invoke(main, ["cache", *map(str, words)])
    assert result.exit_code == 2
    assert "--count" in result.stderr
    assert not (root / "x.png").exists()


def test_inspect_draws_regions(root: Path) -> None:
    cache, out = root / "caches/birds/teacher", root / "out.png"
    words = ("--params", root / "params.yaml", "--out", out)
    assert f"5 regions drawn: {out}" in run("inspect", cache, *words, "--count", 5)
    few = Image.open(out).size
    run("inspect", cache, *words)
    assert Image.open(out).size[1] > few[1]
    moved = cache.rename(root / "elsewhere")
    assert "Say --plan" in run("inspect", moved, *words, code=2)
    run("inspect", moved, *words, "--plan", root / "plans/birds")
    said = run("inspect", moved, *words, "--plan", root / "plans/ships", code=2)
    assert "another plan" in said


def test_gc_says_what_it_would_do_and_does_it_when_told(root: Path) -> None:
    shutil.rmtree(root / "caches/ships")
    half = next((root / "store").glob("*/*.segment"))
    half = half.with_name(f".{half.name}.x1y2z3")
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    before = contents(root)
    said = run("gc", root / "store", root / "caches")
    assert "nothing was changed: say --delete" in said
    assert "would remove 1 half-written" in said
    assert contents(root) == before
    said = run("gc", root / "store", root / "caches", "--delete")
    assert "freed" in said
    assert "removed 1 half-written" in said
    assert not half.exists()
    assert contents(root) != before
    run("verify", root)
    said = run("gc", root / "store", root / "caches", "--delete")
    assert "removed 0" in said
    assert "half-written" not in said
    for store, caches in (("store", "plans"), ("caches", "caches")):
        run("gc", root / store, root / caches, code=2)


def test_gc_keeps_what_caches_behind_links_hold(root: Path) -> None:
    (root / "runs/default").mkdir(parents=True)
    (root / "runs/default/caches").symlink_to(root / "caches")
    assert "removed 0" in run("gc", root / "store", root / "runs", "--delete")
    assert "4 caches" in run("verify", root / "runs")
    assert len(run("ls", root / "runs").splitlines()) == 5


def test_gc_deletes_nothing_when_a_folder_cannot_be_listed(root: Path, monkeypatch) -> None:
    before = contents(root)
    with monkeypatch.context() as patch:
        refuse_listing(patch, str(root / "caches/ships"))
        said = run("gc", root / "store", root / "caches", "--delete", code=2)
    assert said.startswith(f"error: {root / 'caches/ships'}: cannot be read")
    assert contents(root) == before


def test_all_of_it_on_s3(root: Path, s3) -> None:
    fs = fsspec.filesystem("s3")
    for part in ("caches", "store"):
        fs.put(str(root / part), f"{s3.bucket}/{part}", recursive=True)
    cache = f"{s3.url}/caches/birds/teacher"
    listed = run("ls", s3.url)
    assert f"{s3.url}/caches/ships/student" in listed
    said = [
        listed,
        *(run(*words) for words in (("verify", s3.url), ("verify", cache), ("inspect", cache))),
        run("gc", f"{s3.url}/store", f"{s3.url}/caches", "--delete"),
    ]
    words = ("inspect", cache, "--params", root / "params.yaml", "--out", root / "x.png")
    said.append(run(*words, code=2))
    assert "Say --plan" in said[-1]
    run(*words, "--plan", root / "plans/birds")
    shard = fs.glob(f"{s3.bucket}/caches/birds/teacher/train-*")[0]
    fs.pipe_file(shard, fs.cat_file(shard)[:-1])
    said.append(run("verify", s3.url, code=1))
    assert shard.rsplit("/", 1)[-1] in said[-1]
    assert not any(secret in one for one in said for secret in SECRETS)
