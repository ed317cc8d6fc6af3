"""The kinds of faults: each puts one at random into the sound project, and tries a command."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from . import commands as c
from .chance import Random, one_of
from .commands import Command, stage
from .damage import KINDS, Kind, put
from .flushes import inodes, lose, watched
from .names import hostile_name
from .project import PARAMS, Project, datasets_of, settle, write_params
from .stores import FAULTS, PROTOCOL, faulty
from .strangers import stranger
from .trial import REPAIR, Fault, Trial, try_out

TRIES = 20
WRITERS = (
    *(stage(name, "here") for name in ("prepare-crops", "cache-teacher", "evaluate")),
    *(stage("train-student", name) for name in ("here", "there")),
    *(c.COMPARE, c.OOD, c.PACK, c.LEARNED, c.ONNX, c.REPORT, c.RECORD, c.RECORD_DVC, c.GC),
    *(c.PREDICT_CSV, c.DVC),
)  # fmt: skip
"""Commands that are interrupted."""

MEGABYTES = 1 << 20


def damaged(project: Project, random: Random, kind: Kind) -> Trial | None:
    """Damage a file of a kind; what reads it must tell, and say what mends it."""
    command = one_of(random, kind.readers)
    project.result_of(command)
    damage = one_of(random, kind.damages)
    project.put_back()
    project.take_away(*kind.without)
    touched = put(project.place, project.matching(*kind.files), damage, random)
    if touched is None:
        return None
    if kind.is_repaired:
        project.run(REPAIR)

    def heal() -> None:
        for path in touched if kind.again is None else ():
            shutil.copy2(project.sound / path, project.place / path)

    names = [word for path in touched for word in (Path(path).name, str(Path(path).parent))]
    fault = Fault(
        kind.name,
        f"{damage}: {touched[0]}",
        touched,
        names=names if kind.is_told else (),
        heal=heal,
        again=[kind.again(name).words for name in datasets_of(touched)] if kind.again else (),
    )
    return try_out(project, command, fault)


def killed(project: Project, random: Random) -> Trial:
    """Kill a command and all its children at a random moment; then it, or a reader, must do."""
    command = one_of(random, WRITERS)
    moment = float(random.uniform(0, 1.1 * project.result_of(command).seconds))
    following = _following(project, command, random)
    project.begin_anew(command)
    before = project.files()
    project.run(command.words, seconds=moment)
    what = f"{' '.join(command.words)} after {moment:.3f} s"
    unmade = _unmade(project, command, following)
    fault = Fault("kill", what, unmade, again=[command.words], before=before)
    return try_out(project, following, fault)


def power_cut(project: Project, random: Random) -> Trial:
    """Cut the power while a command runs, or after it: what it did not flush may be empty."""
    command = one_of(random, WRITERS)
    moment = float(random.uniform(0, 2 * project.result_of(command).seconds))
    following = _following(project, command, random)
    project.begin_anew(command)
    before, numbers = project.files(), inodes(project.place)
    log = project.folder / "flushed"
    project.run(command.words, watched(log), seconds=moment)
    lost = lose(project.place, numbers, log, random)
    what = f"{' '.join(command.words)} after {moment:.3f} s, {len(lost)} files emptied"
    lost += _unmade(project, command, following)
    fault = Fault("power cut", what, lost, again=[command.words], before=before)
    return try_out(project, following, fault)


def _unmade(project: Project, command: Command, following: Command) -> list[str]:
    """Return what a command began without, where it is not the one that follows."""
    tree = project.result_of(following).tree
    return [path for path in tree if command.writes(path)] if following != command else []


def _following(project: Project, command: Command, random: Random) -> Command:
    """Return the command itself, or one that reads what it makes."""
    made = [path for path in project.result_of(command).tree if command.writes(path)]
    readers = [
        one for kind in KINDS if any(kind.holds(path) for path in made) for one in kind.readers
    ]
    chosen = command
    if readers and random.random() < 0.5:
        chosen = one_of(random, readers)
    project.result_of(chosen)
    return chosen


def full(project: Project, random: Random) -> Trial | None:
    """Let a command meet a disk without room, or without inodes, then give it some."""
    command = one_of(random, WRITERS)
    result = project.result_of(command)
    sizes = [
        (project.sound / one).stat().st_size
        for one in result.tree
        if command.writes(one) and (project.sound / one).is_file()
    ]
    scarce = one_of(random, ("bytes", "inodes", "largest file"))
    if scarce == "inodes" and command is c.DVC:
        return None  # diskcache, where DVC keeps digests, tries to begin for ever
    if scarce == "largest file":
        largest = int(random.integers(0, max(sizes, default=4096) + 1))

        def begin() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

        project.begin_anew(command)
        return try_out(
            project, command, Fault("full disk", f"no file beyond {largest} bytes", begin=begin)
        )
    with small_disk(project.place) as resize:
        if resize is None:
            return None
        project.begin_anew(command)
        told = os.statvfs(project.place)
        if scarce == "bytes":
            spare = int(random.integers(0, 4096 + 2 * sum(sizes)))
            resize(size=(told.f_blocks - told.f_bfree) * told.f_frsize + spare)
        else:
            spare = int(random.integers(0, 3 + 2 * len(sizes)))
            resize(nr_inodes=told.f_files - told.f_ffree + spare)

        def heal() -> None:
            resize(size=256 * MEGABYTES, nr_inodes=100_000)

        return try_out(project, command, Fault("full disk", f"{spare} {scarce} left", heal=heal))


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[..., None] | None]:
    """Mount a disk in memory at a folder, and give what resizes it; None where nobody may."""

    def resize(**options: int) -> None:
        words = ",".join(f"{key}={value}" for key, value in options.items())
        subprocess.run(["mount", "-o", f"remount,{words}", str(place)], check=True)

    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={256 * MEGABYTES}", "tmpfs", str(place)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        yield None
        return
    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def failing_store(project: Project, random: Random) -> Trial:
    """Let a region store fail as caches are made from it; then let it be well again."""
    fault, objects = one_of(random, FAULTS), bool(random.random() < 0.5)
    share = one_of(random, (0.02, 0.1, 0.5, 1.0))
    command = stage("cache-teacher", "here")
    project.result_of(command)
    project.put_back()
    if random.random() < 0.5:
        project.take_away(*command.rests)
    cache = {**PARAMS["cache"], "store": f"{PROTOCOL}://.fdbpl/store"}
    write_params(project.place, {**PARAMS, "cache": cache})
    strike = partial(faulty, project.place, seed=int(random.integers(1 << 32)), objects=objects)
    return try_out(
        project,
        command,
        Fault(
            "store",
            f"{fault}, {share:.0%} of the calls to {'objects' if objects else 'files'}",
            touched=["params.yaml"],
            begin=strike(fault, share),
            later=strike("", 0.0),
            names=[PROTOCOL],
        ),
    )


def moved(project: Project, random: Random) -> Trial:
    """Move the whole project; everything must go on there."""
    chosen = (*WRITERS, *(reader for kind in KINDS for reader in kind.readers))
    command = one_of(random, chosen)
    project.result_of(command)
    project.put_back()
    home, away = project.place, project.folder / "moved away"
    shutil.rmtree(away, ignore_errors=True)
    home.rename(away)
    project.place = away
    settle(away)
    try:
        return try_out(project, command, Fault("moved project", "to another folder"))
    finally:
        project.place = home
        settle(home)
        shutil.rmtree(away)


Try = Callable[[Project, Random], Trial | None]
TRIALS: dict[str, tuple[Try, int]] = {
    **{kind.name: (partial(damaged, kind=kind), kind.weight) for kind in KINDS},
    "kill": (killed, 12),
    "power cut": (power_cut, 8),
    "full disk": (full, 8),
    "store": (failing_store, 8),
    "hostile name": (hostile_name, 6),
    "moved project": (moved, 1),
    "stranger": (stranger, 12),
}
"""How each kind is tried, and how often among all."""


def try_kind(project: Project, kind: str, number: int, seed: int) -> Trial:
    """Try a fault of a kind, decided by a seed and its number; without marks if there was none."""
    random = np.random.default_rng([seed, number])
    tried = (TRIALS[kind][0](project, random) for _ in range(TRIES))
    found = next((one for one in tried if one is not None), None)
    return replace(found or Trial(kind, "none", "", frozenset(), "skipped"), number=number)
