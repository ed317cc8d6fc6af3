"""What was learned once, looked up by a digest of all that decides it.

A training key says what is learned (a method's training options, or a closed form's), from what
(one seed's regions, features, labels and names), by which schedule, on which kind of device, and by
which code. So a method dropped or added, an option that only decides, or a comment trains nothing
anew; neither do two methods that learn the same.
"""

import ast
import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fdbpl
from fdbpl.system.files import canonical_json, sha256
from fdbpl.system.source import source
from fdbpl.training.checkpoint import Checkpoint
from fdbpl.training.tensor_file import read_tensors, write_tensors

Arrays = dict[str, NDArray[Any]]

ROOMS = ("fdbpl.classify", "fdbpl.clip", "fdbpl.methods", "fdbpl.training")
"""Where code lies that a training can depend on beyond the values it is given."""
_NAMING = ("fdbpl.methods.registry",)  # says which methods there are, and nothing of any


@dataclass(frozen=True)
class Kept:
    """What a store has: arrays by name, their history, and the keys of the pass that learned it."""

    arrays: Arrays
    history: dict[str, Any]
    together: frozenset[str]


class TrainingStore:
    """Files of trainings in a folder, each under its key.

    Args:
        folder: of the files.
        data: for each seed a digest of what it learns from: regions, features, labels, names.
    """

    def __init__(self, folder: Path, data: Mapping[int, str]) -> None:
        """Nothing is read or written yet."""
        self._folder, self._data = folder, data
        self.learned = self.looked_up = 0
        """How many trainings were put in, and how many found."""
        self.resumed: dict[str, int] = {}
        """By method the epoch, from 0, in which an interrupted training went on."""

    def key(self, what: object, code_of: Sequence[type], seed: int, device: str) -> str:
        """Return the key of what a seed learns.

        Args:
            what: plain values that tell it from others learned from the same data.
            code_of: the classes whose modules learn it.
            seed: of the training.
            device: kind of it.
        """
        own, below = "", list[str]()
        for one in code_of:
            if not one.__module__.startswith("fdbpl."):  # of the user's own, in a file somewhere
                file = Path(inspect.getfile(one))
                own, below = syntax_digest(file), sorted(set(_imported(_tree(file))))
        modules = (one.__module__ for one in code_of)
        code = code_digest((*modules, *below, "fdbpl.training.learning"))
        decides = [what, self._data[seed], seed, device, torch.__version__, code, own]
        return sha256(canonical_json(decides))

    def get(self, key: str) -> Kept | None:
        """Return what was learned, if it was."""
        found = read_tensors(self._path(key), key)
        if found is None:
            return None
        self.looked_up += 1
        tensors, about = found
        arrays = {name: one.numpy() for name, one in tensors.items()}
        return Kept(arrays, about["history"], frozenset(about["together"]))

    def put(
        self,
        key: str,
        arrays: Mapping[str, NDArray[Any]],
        history: object,
        together: Collection[str] = (),
    ) -> None:
        """Keep what was learned, and the keys of all that were learned in one pass with it."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
        about = {"history": history, "together": sorted(together)}
        write_tensors(self._path(key), key, tensors, about)
        self.learned += 1

    def checkpoint(self, keys: Iterable[str]) -> Checkpoint:
        """Return where a training of several keys in one pass stands."""
        key = sha256(canonical_json(list(keys)))
        return Checkpoint(self._folder / f"{key[:40]}.unfinished", key)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key[:40]}.safetensors"


@cache
def code_digest(modules: tuple[str, ...]) -> str:
    """Return a digest of what modules and all that they import of ROOMS do, whatever it says.

    Comments, docstrings and layout are no part of it.
    """
    found: dict[str, Path] = {}
    waiting = [name for name in modules if name.startswith(ROOMS)]
    while waiting:
        name = waiting.pop()
        if name in found or name in _NAMING:
            continue
        path = _file_of(name)
        if path is not None:
            found[name] = path
            waiting += [one for one in _imported(_tree(path)) if one.startswith(ROOMS)]
    return sha256(canonical_json([[name, syntax_digest(found[name])] for name in sorted(found)]))


@cache
def syntax_digest(path: Path) -> str:
    """Return a digest of a Python file's syntax without its docstrings."""
    tree = _tree(path)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [one for one in body if not _is_text(one)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return sha256(ast.dump(tree).encode())


def _tree(path: Path) -> ast.Module:
    return ast.parse(source(path))


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that a module imports, and what may be modules among the names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(module: str) -> Path | None:
    """Return the file of a module of fdbpl, None of a name that is no module."""
    place = Path(fdbpl.__file__).parent.joinpath(*module.split(".")[1:])
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


for _room in ROOMS:  # now: a key asked for in hours stands for what was loaded, not for an edit
    for _path in Path(fdbpl.__file__).parents[1].joinpath(*_room.split(".")).rglob("*.py"):
        source(_path)
