"""DVC's own files, as a kill, a power cut or a full disk may leave them, and how each is mended.

DVC writes some in place, and stops for good at half of one. Nothing that cannot be made again is
removed. While a DVC is at work in this folder all are left to it.
"""

import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import psutil
from ruamel.yaml.error import YAMLError

from fdbpl.settings.project.project import DVC_STATE
from fdbpl.settings.yaml_text import load_yaml
from fdbpl.system.errors import UserError
from fdbpl.system.files import locked, set_aside, write_whole

LOCK, RWLOCK = Path("dvc.lock"), Path(".dvc/tmp/rwlock")
RUNS, OBJECTS = Path(".dvc/cache/runs"), Path(".dvc/cache/files/md5")
STATE = Path(DVC_STATE)

MENDING = Path(".fdbpl/dvc.lock")

HEAD = b"schema: '2.0'\nstages:\n"
_STAGE = re.compile(rb"^  \S.*:$", re.MULTILINE)
_EMPTY = hashlib.md5(usedforsecurity=False).hexdigest()


def require_git() -> None:
    """Refuse a folder in no git repository: DVC works in none.

    Raises:
        UserError: it says how to make it one.
    """
    here = Path.cwd()
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        raise UserError(f"{here}: in no git repository, which DVC needs. Say git init there.")


def locks(stage: str) -> bool:
    """Tell whether dvc.lock knows a stage."""
    return LOCK.is_file() and f"  {stage}:".encode() in LOCK.read_bytes().splitlines()


def mend(*, thoroughly: bool = False) -> Iterator[str]:
    """Mend what there is; yield a line for each thing that was done.

    Of DVC's cache it looks at sizes alone, and of dvc.lock at its end, unless thoroughly: then it
    reads all that they hold.
    """
    if STATE.is_dir() and STATE.parent.stat().st_mode & 0o077:
        STATE.parent.chmod(0o700)  # as neither git nor DVC leaves it
    yield from mend_rwlock()
    with locked(MENDING):
        yield from _mend_lock(thoroughly)
        yield from _mend_known()
        yield from _mend_runs()
        yield from _mend_objects(thoroughly)


def mend_rwlock() -> Iterator[str]:
    """Remove the list of who reads and writes what, where a kill left half of it."""
    with locked(MENDING):
        try:
            whole = isinstance(json.loads(RWLOCK.read_text(encoding="utf-8")), dict)
        except FileNotFoundError:
            return
        except ValueError:
            whole = False
        if not whole and not _at_work():
            RWLOCK.unlink()
            yield f"{RWLOCK}: damaged; removed, since no DVC is at work"


def _mend_lock(thoroughly: bool) -> Iterator[str]:
    """Drop the stages of dvc.lock that DVC would not take; it restores those or runs them again.

    A cut leaves what is before it whole, so the last stage tells of one.
    """
    if not LOCK.is_file():
        return
    data = LOCK.read_bytes()
    if (not thoroughly and _is_surely_whole(data)) or _at_work() or _dvc_takes(data):
        return
    starts = [match.start() for match in _STAGE.finditer(data)]
    stages = (data[one:end] for one, end in pairwise([*starts, len(data)]))
    kept = HEAD + b"".join(stage for stage in stages if _dvc_takes(HEAD + stage))
    place = set_aside(LOCK)
    if starts and _dvc_takes(kept):
        write_whole(LOCK, kept)
    yield f"{LOCK}: damaged; what is whole of it stays, all of it is {place}. Say dvc repro"


def _is_surely_whole(data: bytes) -> bool:
    """Tell from its end, without DVC, whether what DVC wrote is whole; False is no verdict."""
    last = [match.start() for match in _STAGE.finditer(data)]
    if b"\0" in data or not data.startswith(HEAD) or not last:
        return False
    try:
        data.decode()
        [stage] = load_yaml(data[last[-1] :].decode()).values()
        files = [one for key in ("deps", "outs") for one in stage.get(key, [])]
        return (
            isinstance(stage["cmd"], str)
            and all("path" in one and all(map(_is_plain, one.items())) for one in files)
            and all(isinstance(values, dict) for values in stage.get("params", {}).values())
        )
    except (YAMLError, AttributeError, LookupError, TypeError, ValueError):
        return False


def _is_plain(item: tuple[str, object]) -> bool:
    """Tell whether this is a number or a digest, path or the like, of a file."""
    key, value = item
    if key in ("size", "nfiles", "isexec"):
        return isinstance(value, int)
    return isinstance(value, str) and len(value) > 2


def _dvc_takes(data: bytes) -> bool:
    """Tell whether DVC takes this for a dvc.lock, by its own rules, whose import takes a second."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(data.decode(), LOCK))
    except (UnicodeDecodeError, YAMLFileCorruptedError, Invalid):
        return False
    return True


def _mend_known() -> Iterator[str]:
    """Remove databases of files' digests that SQLite finds damaged; DVC takes the digests again."""
    for path in sorted(STATE.rglob("*.db")):
        if _is_sound(path) or _at_work():
            continue
        for one in path.parent.glob(f"{path.name}*"):  # its journal, too
            one.unlink()
        yield f"{path}: damaged; removed. DVC takes the digests of files again"


def _is_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            return bool(database.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        return "locked" in str(error)


def _mend_runs() -> Iterator[str]:
    """Remove empty files and folders from the run cache, which a full disk leaves.

    DVC ends in an error at a folder without a run.
    """
    empty = [file for file in RUNS.glob("*/*/*") if not file.stat().st_size]
    bare = [run for run in RUNS.glob("*/*") if run.is_dir() and set(run.iterdir()) <= set(empty)]
    if (empty or bare) and not _at_work():
        for file in empty:
            file.unlink()
        for run in bare:
            run.rmdir()
        yield f"{RUNS}: {len({*bare, *(file.parent for file in empty)})} runs empty; removed"


def _mend_objects(thoroughly: bool) -> Iterator[str]:
    """Take objects out of DVC's cache that are not what their names say.

    DVC trusts what it has once cached, and would put that in the place of outputs.
    """
    damaged = [path for path in OBJECTS.glob("??/*") if _is_damaged(path, thoroughly)]
    if not damaged or _at_work():
        return
    for path in damaged:
        path.chmod(0o644)
        path.unlink() if not path.stat().st_size else set_aside(path)
    for known in STATE.glob("*/"):  # digests of outputs that are linked to these
        shutil.rmtree(known, ignore_errors=True)
    yield f"{OBJECTS}: {len(damaged)} objects damaged; taken out. dvc repro makes them again"


def _is_damaged(path: Path, thoroughly: bool) -> bool:
    digest = path.parent.name + path.name.removesuffix(".dir")
    if not re.fullmatch("[0-9a-f]{32}", digest) or digest == _EMPTY:
        return False
    if not path.stat().st_size:
        return True
    if not thoroughly:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() != digest


def _at_work() -> bool:
    """Tell whether a DVC runs in this folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = [Path(word).name for word in process.cmdline()[:3]]
            if "dvc" in words and Path(process.cwd()) == Path.cwd():
                return True
    return False
