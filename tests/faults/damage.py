"""Damage of files: one file of a kind is changed, and what reads it must say so or do without."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from . import commands as c
from .chance import Random
from .commands import RUN, Command, stage


def _bit(data: bytes, _sibling: bytes, random: Random) -> bytes:
    return _with(data, int(random.integers(len(data))), 1 << int(random.integers(8)))


def _byte(data: bytes, _sibling: bytes, random: Random) -> bytes:
    return _with(data, int(random.integers(len(data))), int(random.integers(1, 256)))


def _with(data: bytes, place: int, change: int) -> bytes:
    return data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]


def _zeroed(data: bytes, _sibling: bytes, random: Random) -> bytes:
    start = int(random.integers(len(data)))
    stop = min(len(data), start + int(random.integers(1, 4096)))
    return data[:start] + bytes(stop - start) + data[stop:]


DAMAGES: dict[str, Callable[[bytes, bytes, Random], bytes | None]] = {
    "bit": _bit,
    "byte": _byte,
    "cut": lambda data, _, random: data[: int(random.integers(1, len(data)))],
    "longer": lambda data, _, random: data + random.bytes(int(random.integers(1, 100))),
    "zeroed": _zeroed,
    "swapped": lambda _data, sibling, _random: sibling,
    "empty": lambda *_: b"",
    "missing": lambda *_: None,
}


@dataclass(frozen=True)
class Kind:
    """A kind of file: patterns of its files, who reads them, who writes them again.

    again: the command that makes them; None of what people give, which is put back then. without:
    patterns of what is taken away, so that the file is read. damages: of DAMAGES; weight: how
    often it is tried among others; is_repaired: whether `fdbpl repair` is said before the reader,
    which by itself trusts the file; is_told: whether an error must name it, as DVC's do not.
    """

    name: str
    files: tuple[str, ...]
    readers: tuple[Command, ...]
    again: Callable[[str], Command] | None = None
    without: tuple[str, ...] = ()
    damages: tuple[str, ...] = tuple(DAMAGES)
    weight: int = 4
    is_repaired: bool = False
    is_told: bool = True

    def holds(self, path: str) -> bool:
        """Tell whether a file is of this kind."""
        return any(fnmatch(path, one) for one in self.files)


def _of(name: str) -> Callable[[str], Command]:
    return lambda dataset: stage(name, dataset)


def _both(name: str) -> tuple[Command, ...]:
    return stage(name, "here"), stage(name, "there")


CACHES, TRAIN, EVALUATE = _both("cache-teacher"), _both("train-student"), _both("evaluate")
CLASSIFIED = (*EVALUATE, c.OOD, c.PACK, c.REPORT, c.RECORD)

KINDS = (
    Kind("params.yaml", ("params.yaml",), (*EVALUATE, c.COMPARE, c.DVC, c.LS), None,
         damages=("cut", "longer", "zeroed", "empty", "missing")),
    Kind("picture", ("pictures/*.png",), CACHES, None, (".fdbpl/store/*",)),
    Kind("plan", (f"{RUN}/plans/*",), (*CACHES, *TRAIN, *EVALUATE, c.PACK, c.VIEW, c.REGIONS),
         _of("prepare-crops")),
    Kind("cache", (f"{RUN}/caches/*",),
         (*TRAIN, *EVALUATE, c.OOD, c.VERIFY, c.VIEW, c.LS, c.REPORT), _of("cache-teacher")),
    Kind("region store", (".fdbpl/store/*",), (*CACHES, *CACHES, c.VERIFY, c.GC),
         _of("cache-teacher")),
    Kind("prompts", (f"{RUN}/prompts/*.prompts.*",), CLASSIFIED, _of("train-student")),
    Kind("classifier", (f"{RUN}/prompts/*.classifier.*",), CLASSIFIED, _of("train-student")),
    Kind("history", (f"{RUN}/prompts/*.history.*",), (c.REPORT, c.RECORD), _of("train-student")),
    Kind("training", (f"{RUN}/.fdbpl/trainings/*",), TRAIN, _of("train-student")),
    Kind("metrics", (f"{RUN}/metrics/datasets/*",), (c.COMPARE, c.REPORT, c.RECORD),
         _of("evaluate")),
    Kind("comparison", (f"{RUN}/metrics/compare.*",), (c.COMPARE, c.REPORT, c.RECORD),
         lambda _: c.COMPARE),
    Kind("OOD", (f"{RUN}/metrics/ood.*",), (c.OOD, c.REPORT, c.RECORD), lambda _: c.OOD),
    Kind("model", ("model/*",), (c.PREDICT, c.PREDICT_CSV, c.MODEL_REPORT, c.ONNX), None),
    Kind("kept graph", (".kept/*",), (c.PACK, c.PREDICT), lambda _: c.PACK),
    Kind("work of learn", (".fdbpl/learn/*",), (c.LEARNED,), lambda _: c.LEARNED),
    Kind("outputs under DVC", ("plans/*", "caches/*", "prompts/*", "metrics/*"), (c.DVC,),
         lambda _: c.DVC),
    Kind("DVC's cache", (".dvc/cache/*",), (c.DVC,), lambda _: c.DVC,
         ("plans/*", "caches/*", "prompts/*"), is_repaired=True),
    Kind("DVC's state", ("dvc.lock", ".dvc/tmp/*", ".dvc-state/*"), (c.DVC,), lambda _: c.DVC,
         is_told=False),
    Kind("MLflow's database", (".fdbpl/mlflow/*",), (c.RECORD, c.RECORD_DVC),
         lambda _: c.RECORD_DVC),
)  # fmt: skip


def put(place: Path, files: list[str], damage: str, random: Random) -> list[str] | None:
    """Damage one of a project's files in place; return the paths touched, None where none could be.

    A bit that rots changes neither name, size nor times: so do these, where the size stays.
    """
    random.shuffle(files)
    target = place / files[0]
    data = target.read_bytes()
    siblings = [one for one in files[1:] if Path(one).suffix == target.suffix]
    sibling = next((s for s in siblings if (place / s).read_bytes() != data), None)
    if len(data) < 2 or (damage == "swapped" and sibling is None):
        return None
    other = (place / sibling).read_bytes() if sibling else b""
    changed = DAMAGES[damage](data, other, random)
    if changed == data:
        return None
    overwrite(target, changed)
    if damage != "swapped" or sibling is None:
        return [files[0]]
    overwrite(place / sibling, data)
    return [files[0], sibling]


def overwrite(path: Path, data: bytes | None) -> None:
    """Change a file's content, or remove it; links to it and its times stay."""
    if data is None:
        path.unlink()
        return
    told = path.stat()
    path.chmod(0o644)  # DVC's are read-only
    path.write_bytes(data)
    path.chmod(told.st_mode)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))
