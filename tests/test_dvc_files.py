"""What a kill, a power cut or a full disk leaves of DVC's own files, and what becomes of it."""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from fdbpl.settings.params import load_yaml
from fdbpl.system.errors import UserError
from fdbpl.system.files import DAMAGED
from flows import dvc_files
from flows.dvc_files import LOCK, OBJECTS, RUNS, RWLOCK, STATE, mend, require_git

STAGES = [
    "parameters",
    *(f"{stage}@{name}" for name in ("icons", "dtd") for stage in ("plan", "cache")),
]
WHOLE = "schema: '2.0'\nstages:\n" + "".join(
    f"""  {stage}:
    cmd: python -m flows.stage {stage.partition("@")[0]}
    deps:
    - path: fdbpl/data
      hash: md5
      md5: 0c5b4dbc3ab3b0ba4b0b0ab6f6a0c9b0.dir
      size: 61234
      nfiles: 12
    - path: plans/icons
      hash: md5
      md5: 5a105e8b9d40e1329780d62ea2265d8a
      size: 12
    params:
      params.resolved.json:
        shots: 16
        objectives: {{}}
        workers:
          kind: threads
          address:
    outs:
    - path: caches/{stage}
      hash: md5
      md5: ad0234829205b9033196ba818f7a872b.dir
      size: 1234
      nfiles: 3
"""
    for stage in STAGES
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.dvc_files._at_work", lambda: False)
    return tmp_path


def stages_of(text: str) -> dict[str, object] | None:
    """The stages of a dvc.lock, None where DVC refuses it."""
    try:
        return dict(COMPILED_LOCKFILE_SCHEMA(load_yaml(text)).get("stages", {}))
    except (YAMLError, Invalid):
        return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0, len(WHOLE)))
def test_dvc_takes_what_is_left_of_a_cut_lock_file_and_all_whole_stages_but_one_stay(
    at: int,
) -> None:
    LOCK.write_text(WHOLE[:at])
    done = list(mend())
    left = stages_of(LOCK.read_text()) if LOCK.exists() else {}
    assert left is not None
    whole = stages_of(WHOLE)
    assert whole
    sound = [name for name in left if left[name] == whole[name]]
    assert len(sound) >= min(WHOLE[:at].count("  nfiles: 3\n") - 1, len(STAGES))
    assert sound == STAGES[: len(sound)]
    if done:
        [damaged] = DAMAGED.iterdir()
        assert damaged.read_text() == WHOLE[:at]
        damaged.unlink()
    else:
        assert LOCK.read_text() == WHOLE[:at]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_after_a_look_at_all_dvc_takes_a_lock_file_with_a_byte_changed(at: int, byte: int) -> None:
    data = WHOLE.encode()[:at] + bytes([byte]) + WHOLE.encode()[at + 1 :]
    LOCK.write_bytes(data)
    done = list(mend(thoroughly=True))
    left = stages_of(LOCK.read_text()) if LOCK.exists() else {}
    assert left is not None
    assert bool(done) == (not LOCK.exists() or LOCK.read_bytes() != data)
    whole = stages_of(WHOLE)
    assert whole
    if LOCK.exists():  # a byte in the line of a name takes the stage before with it
        assert len([name for name in left if left[name] == whole.get(name)]) >= len(STAGES) - 2


def test_what_a_lock_file_knows_is_told_by_whole_names() -> None:
    assert not dvc_files.locks("parameters")
    LOCK.write_text(WHOLE)
    assert all(dvc_files.locks(stage) for stage in STAGES)
    assert not dvc_files.locks("plan")


def state_database(damage: bytes = b"") -> Path:
    """A database as DVC keeps digests of files in, with bytes over its second page."""
    path = STATE / "repo" / "x" / "hashes" / "cache.db"
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE Cache (key TEXT PRIMARY KEY, value BLOB)")
        rows = ((str(number), b"x" * 100) for number in range(300))
        database.executemany("INSERT INTO Cache VALUES (?, ?)", rows)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + damage + data[4096 + len(damage) :])
    return path


def test_a_damaged_database_of_digests_is_removed_and_a_whole_one_stays() -> None:
    path = state_database()
    assert list(mend()) == []
    assert path.exists()
    shutil.rmtree(STATE)
    path = state_database(bytes(4000))
    assert [line.partition(":")[0] for line in mend()] == [str(path)]
    assert not path.exists()
    for rubbish in (b"", b"\0" * 100, b"no database"):
        path.write_bytes(rubbish)
        assert len(list(mend())) == bool(rubbish)  # SQLite takes an empty file for a new database


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        "# by hand\n" + WHOLE,
        WHOLE.replace("'2.0'", '"2.0"'),
        WHOLE + "datasets:\n- name: x\n",
        "schema: '2.0'\n",
        "schema: '2.0'",
    ],
)
def test_a_lock_file_that_dvc_takes_stays(text: str) -> None:
    LOCK.write_text(text)
    assert list(mend()) == []
    assert LOCK.read_text() == text


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, WHOLE.encode()[:500] + b"\0" * 500, b"[1]", b"\xff"]
)
def test_a_lock_file_of_no_sense_is_set_aside(data: bytes) -> None:
    LOCK.write_bytes(data)
    [line] = mend()
    assert line.startswith("dvc.lock: damaged; ")
    assert [path.read_bytes() for path in DAMAGED.iterdir()] == [data]
    assert not LOCK.exists() or stages_of(LOCK.read_text())


def test_a_second_damaged_file_does_not_take_the_place_of_the_first() -> None:
    for text in ("one", "two"):
        LOCK.write_text(text)
        list(mend())
    assert sorted(path.read_text() for path in DAMAGED.iterdir()) == ["one", "two"]


@pytest.mark.parametrize(("left", "stays"), [("", False), ('{"re', False), ('{"read": {}}', True)])
def test_a_half_written_rwlock_is_removed_and_a_whole_one_stays(left: str, stays: bool) -> None:
    RWLOCK.parent.mkdir(parents=True)
    RWLOCK.write_text(left)
    assert len(list(mend())) == (not stays)
    assert RWLOCK.exists() is stays


def cached(content: bytes, suffix: str = "") -> Path:
    """An object as DVC's cache holds it: read-only, under its digest."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = OBJECTS / digest[:2] / (digest[2:] + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)
    return path


def damage(path: Path, content: bytes) -> Path:
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)
    return path


def test_objects_that_are_not_what_their_names_say_are_taken_out_and_no_others() -> None:
    (STATE / "token").mkdir(parents=True)
    (STATE / ".gitignore").touch()
    sound = [cached(b""), cached(b"sound"), cached(b"[]", ".dir")]
    (OBJECTS / "ab").mkdir()
    sound.append(OBJECTS / "ab" / "tmp.of-dvc")
    sound[-1].touch()
    assert list(mend(thoroughly=True)) == []
    empty = [damage(cached(b"was whole"), b""), damage(cached(b'["x"]', ".dir"), b"")]
    changed = damage(cached(b"another"), b"anothes")
    [line] = mend()
    assert ": 2 objects damaged" in line
    assert not any(path.exists() for path in empty)
    [line] = mend(thoroughly=True)
    assert ": 1 objects damaged" in line
    assert not changed.exists()
    assert [path.read_bytes() for path in DAMAGED.iterdir()] == [b"anothes"]
    assert all(path.exists() for path in sound)
    assert [path.name for path in STATE.iterdir()] == [".gitignore"]


def test_empty_runs_are_removed_from_the_run_cache_and_whole_ones_stay() -> None:
    whole = RUNS / "ab" / "abcd" / "value"
    for path in (whole, RUNS / "cd" / "cdef" / "value", RUNS / "cd" / "both" / "value"):
        path.parent.mkdir(parents=True)
        path.touch()
    for path in (whole, RUNS / "cd" / "both" / "whole"):
        path.write_text("cmd: x")
    (RUNS / "ef" / "bare").mkdir(parents=True)
    [line] = mend()
    assert ": 3 runs empty" in line
    left = sorted(path for path in RUNS.rglob("*") if path.is_file())
    assert left == [whole, RUNS / "cd" / "both" / "whole"]
    assert not (RUNS / "ef" / "bare").exists()
    assert list(mend()) == []


def test_nothing_is_touched_while_a_dvc_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.dvc_files._at_work", lambda: True)
    LOCK.write_text("schema")
    RWLOCK.parent.mkdir(parents=True)
    RWLOCK.write_text("{")
    (RUNS / "ef" / "bare").mkdir(parents=True)
    empty = damage(cached(b"x"), b"")
    assert list(mend(thoroughly=True)) == []
    assert LOCK.read_text() == "schema"
    assert RWLOCK.read_text() == "{"
    assert (RUNS / "ef" / "bare").exists()
    assert empty.exists()


def test_dvcs_state_is_the_owners_alone() -> None:
    STATE.mkdir(parents=True)
    STATE.parent.chmod(0o755)
    assert list(mend()) == []
    assert STATE.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_in_no_git_repository_is_told_what_to_do(here: Path) -> None:
    with pytest.raises(UserError, match="in no git repository, which DVC needs"):
        require_git()
    (here / ".git").write_text("gitdir: elsewhere")  # as of a worktree
    require_git()
    (here / "below").mkdir()
    require_git()


def test_dvcs_schema_is_where_it_is_looked_for() -> None:
    assert dvc_files._dvc_takes(WHOLE.encode())
    assert not dvc_files._dvc_takes((WHOLE[:-1] + "x:\n").encode())
