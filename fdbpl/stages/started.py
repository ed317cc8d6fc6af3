"""What a stage was started with, held against what is there when it is about to write.

DVC takes the digests of parameters, inputs and code when a stage has ended. A stage that they were
edited under would stand as made with the edit, so it writes nothing and fails.
"""

import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fdbpl.settings.params import Params, read_params
from fdbpl.settings.project.code import INSTALLED, files_in, is_code, shipped_stages
from fdbpl.settings.resolved import RESOLVED, read_resolved
from fdbpl.system.difference import difference, short
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

Stamp = tuple[int, int, int]
"""Of a file: its number in the file system, when it was written in nanoseconds, its size."""


def started(
    stage: str, path: Path, work: Workspace, dataset: str | None
) -> tuple[Params, Workspace]:
    """Read the parameters of a stage, once; return them, and a workspace that watches over them.

    Its `before_writing` raises UserError where the sections of the parameters that the stage uses,
    a file that they name, an input of the stage or its code has changed.

    Args:
        stage: as dvc.yaml names it, such as "train-student".
        path: of the parameters, as the user writes them or as DVC's stages take them.
        work: where the stage works.
        dataset: its own; None of a stage over all of them.

    Raises:
        UserError: see `read_params` and `read_resolved`.
    """
    read = read_resolved if path == RESOLVED else read_params
    text = _content(path)  # before they are read: what is saved between is a change
    params, known = read(path), shipped_stages()[stage]
    keys = [key for told in known["params"] for key in told[str(RESOLVED)]]
    used = _used(params, keys)
    places = [_place(one, work, params, dataset) for one in known["deps"]]
    stamps = _stamps(places, used)
    again = f"So this run does not count. Run {work.command(stage, dataset, force=False)} again."

    def before_writing() -> None:
        if _content(path) != text:
            now = _used(read(path), keys)
            for found, wanted in ((now, used), (used, now)):  # keys that came, keys that went
                differs = difference(found, wanted)
                if differs is not None:
                    key, *values = differs
                    first, last = map(short, values if found is used else values[::-1])
                    raise UserError(
                        f"{path}: changed while {stage} ran: {key} was {first}, is {last}. {again}"
                    )
        changed = _changed(stamps, _stamps(places, used))
        if changed is not None:
            raise UserError(f"{changed}: changed while {stage} ran. {again}")

    return params, replace(work, before_writing=before_writing)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _used(params: Params, keys: Iterable[str]) -> dict[str, Any]:
    """Return the sections that a stage uses, as plain values."""
    plain = params.model_dump(mode="json")
    return {key: plain[key] for key in [*keys, "method_files"]}


def _place(dependency: str, work: Workspace, params: Params, dataset: str | None) -> Path:
    if is_code(dependency):
        return INSTALLED / dependency
    name = dependency.replace("${item.dataset}", str(dataset)).replace("${source}", params.source)
    return work.root / name


def _stamps(places: Iterable[Path], used: Mapping[str, Any]) -> dict[Path, Stamp]:
    """Return the stamp of every file below the places, and of those that parameters name."""
    found = {}
    for path in [*(file for place in places for file in files_in(place)), *_named(used)]:
        about = path.stat()
        found[path] = (about.st_ino, about.st_mtime_ns, about.st_size)
    return found


def _named(value: Any) -> Iterator[Path]:
    """Yield the files that plain values name; {} and {shots} in a name stand for anything."""
    if isinstance(value, str):
        pattern = glob.escape(value).replace("{shots}", "*").replace("{}", "*")
        yield from filter(Path.is_file, map(Path, glob.glob(pattern)))  # noqa: PTH207 - of any root
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _named(one)


def _changed(before: Mapping[Path, Stamp], now: Mapping[Path, Stamp]) -> Path | None:
    """Return the first file that is another, new or gone."""
    every = sorted({*before, *now})
    return next((path for path in every if before.get(path) != now.get(path)), None)
