"""Weights as other programs save them, read without running anything that stands in the file.

What a file is its content tells, not its name: safetensors, a state dict of torch, or a TorchScript
archive such as OpenAI's own. Such an archive is a program: `torch.jit.load` compiles its code and
may run it. Its tensors lie beside the code in the layout of a state dict, so they are read as one,
and the code is not looked at.
"""

import errno
import io
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn

import torch
from safetensors.torch import load_file
from torch import Tensor

from fdbpl.system.errors import UserError

SCALARS = ("logit_scale", "logit_bias")
"""What some programs save beside the state dict, or as plain numbers."""

WANTED = "Wanted a safetensors file, or a state dict saved by torch.save."

HEAD = 1024
_NO_WEIGHTS = {
    rb"version https://git-lfs": "a pointer of Git LFS: fetch the file itself, by git lfs pull",
    rb"\s*<(!doctype|html|\?xml)": "a web page, perhaps an error in place of a download",
    rb"\s*[{\[]": "JSON, perhaps an error or an index in place of a download",
    rb"\x93NUMPY": "an array of numpy",
    rb"\x1f\x8b": "compressed by gzip: unpack it first",
    rb"\x89HDF": "an HDF5 file of another framework",
}


class _LeftOut:
    """Stands for an object beside the weights, of which nothing is read and nothing runs."""

    def __new__(cls, *_: Any) -> "_LeftOut":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None: ...


class _Module:
    """Stands for a module of a TorchScript archive: its tensors and modules by name."""

    parts: Mapping[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.parts = state if isinstance(state, dict) else {}

    def tensors(self, above: str = "") -> dict[str, Any]:
        """Return all tensors in and below this module by name."""
        found: dict[str, Any] = {}
        for name, part in self.parts.items():
            if isinstance(part, _Module):
                found |= part.tensors(f"{above}{name}.")
            elif isinstance(part, Tensor):
                found[above + name] = part
        return found


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _same(value: Any, *_: Any) -> Any:
    return value


# Objects that training programs save beside weights. They are left out, not made: Dassl's schedule
# with a warm-up, in every checkpoint of CoOp's configurations; accuracies of numpy; arguments.
BESIDE_WEIGHTS: list[Any] = [
    *(
        (_LeftOut, name)
        for name in (
            "torch.optim.lr_scheduler.CosineAnnealingLR",
            "torch.optim.lr_scheduler.MultiStepLR",
            "torch.optim.lr_scheduler.StepLR",
            "torch.optim.adam.Adam",
            "torch.optim.adamw.AdamW",
            "torch.optim.sgd.SGD",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.core.multiarray._reconstruct",
            "numpy._core.multiarray._reconstruct",
            "numpy.ndarray",
            "numpy.dtype",
            "_codecs.encode",
            "argparse.Namespace",
            "pathlib.PosixPath",
        )
    ),
    (_plain_dict, "collections.defaultdict"),
    (dict, "builtins.dict"),
]
_LISTS_OF_TORCHSCRIPT: list[Any] = [
    (_same, f"torch.jit._pickle.{name}")
    for name in (
        *("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist"),
        "restore_type_tag",
    )
]


def read_weights(path: Path, source: str, parts: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors of a file by name, on the CPU, in the file's own precisions.

    Names begin with one of `parts`: a wrapper around the whole model, such as `module.` or
    `_orig_mod.`, is taken off. `logit_scale` may stand beside the state dict, or be a number.

    Args:
        path: of the file.
        source: what errors begin with: the parameter and the path.
        parts: first parts of the names that are wanted: `visual` of `visual.conv1.weight`.

    Raises:
        UserError: the file cannot be read, is something else, damaged or compressed; holds objects
            beside weights that are not known to be harmless; holds several state dicts or none; or
            an entry that is no plain tensor of numbers.
    """
    found = _load(path, source)
    if isinstance(found, _Module):
        found = found.tensors()
    state = _state_dict(found, source)
    beside = {name: found[name] for name in SCALARS if name in found}
    alone = {name: state[name] for name in SCALARS if name in state}
    rest = {name: value for name, value in state.items() if name not in alone}
    named = {**beside, **alone, **_unwrapped(rest, parts)}
    return {name: _plain(name, value, source) for name, value in named.items()}


def shown(names: Collection[Any]) -> str:
    """Return the first of several names for a message, however long or strange they are."""
    found = [repr(name)[:80] for name in list(names)[:3]]
    return ", ".join(found) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _load(path: Path, source: str) -> Any:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise OSError(errno.EINVAL, "a folder or device, no file")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}. {WANTED}") from None
    if not head:
        _refuse(source, "empty")
    try:
        if head[8:9] == b"{":  # after the length of its header
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # of pickle's protocols
            return _from_zip(path, source) if zipfile.is_zipfile(path) else _from_pickle(path)
    except UserError:
        raise
    except UnpicklingError as error:
        _, is_object, rest = str(error).partition("GLOBAL ")
        if is_object:
            raise UserError(
                f"{source}: holds {rest.split()[0]!r}, an object beside weights that is not made: "
                "it could run anything. Wanted plain weights: where the file was made, save the "
                "state dict alone, torch.save(model.state_dict(), file)."
            ) from None
        _refuse(source, _kind(head, error))
    except Exception as error:  # torch and safetensors raise types of their own for damage
        _refuse(source, _kind(head, error))


def _kind(head: bytes, error: Exception) -> str:
    """Return what a file is that could not be read."""
    for start, kind in _NO_WEIGHTS.items():
        if re.match(start, head, re.IGNORECASE):
            return kind
    return f"damaged, or of no known format ({type(error).__name__})"


def _refuse(source: str, found: str) -> NoReturn:
    raise UserError(f"{source}: no readable weights: {found}. {WANTED}")


def _from_zip(path: Path, source: str) -> Any:
    """Read what torch.save or torch.jit.save wrote: a zip archive of uncompressed files."""
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if "data.pkl" not in names:
            _refuse(source, f"a zip archive of {shown(archive.namelist())}: unpack it first")
        of_tensors = [
            name
            for name in archive.namelist()
            if (inner := name.partition("/")[2]) in ("data.pkl", "version", "byteorder")
            or inner.startswith("data/")
        ]
        size = sum(archive.getinfo(name).file_size for name in of_tensors)
        if size > path.stat().st_size:
            _refuse(source, f"a zip archive that would unpack to {size:,} bytes")
        if "constants.pkl" not in names:
            return _from_pickle(path)
        without_code = io.BytesIO()
        with zipfile.ZipFile(without_code, "w") as kept:
            for name in of_tensors:
                kept.writestr(name, archive.read(name))
        pickled = archive.read(names["data.pkl"])
    modules = set(re.findall(rb"c(__torch__[\w.]*)\n(\w+)\n", pickled))
    made: list[Any] = [(_Module, f"{room.decode()}.{name.decode()}") for room, name in modules]
    without_code.seek(0)
    return _from_pickle(without_code, [*made, *_LISTS_OF_TORCHSCRIPT])


def _from_pickle(file: Path | io.BytesIO, more: Collection[Any] = ()) -> Any:
    with torch.serialization.safe_globals([*BESIDE_WEIGHTS, *more]):
        return torch.load(file, map_location="cpu", weights_only=True)


def _state_dict(found: Any, source: str) -> Mapping[str, Any]:
    """Return the state dict in what a file holds: it may stand among other things."""
    if not isinstance(found, dict):
        _refuse(source, f"a {type(found).__name__}, no state dict")
    if "state_dict" in found:
        state = found["state_dict"]
        if not isinstance(state, dict):
            _refuse(source, f"its state_dict is a {type(state).__name__}")
    elif any(isinstance(value, Tensor) for name, value in found.items() if name not in SCALARS):
        state = found
    else:
        among = {name: value for name, value in found.items() if _holds_tensors(value)}
        if len(among) > 1:
            _refuse(source, f"several state dicts, {shown(among)}: save one of them alone")
        if not among:
            _refuse(source, f"no tensors, but {shown(found)}" if found else "an empty dict")
        (state,) = among.values()
    if not state or not all(isinstance(name, str) for name in state):
        _refuse(source, f"a state dict whose names are {shown(state) or 'none'}")
    return state


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(one, Tensor) for one in value.values())


def _unwrapped(state: dict[str, Any], parts: Collection[str]) -> dict[str, Any]:
    """Take off what stands before every name, up to a part of the model; else leave all."""
    inner = state
    while len(heads := {name.partition(".")[0] for name in inner}) == 1:
        if heads <= set(parts) or not all("." in name for name in inner):
            break
        inner = {name.partition(".")[2]: value for name, value in inner.items()}
    return state if heads.isdisjoint(parts) else inner


def _plain(name: str, value: Any, source: str) -> Tensor:
    """Return a tensor of numbers without its history, or say what it is instead."""
    if name in SCALARS and isinstance(value, int | float):
        return torch.tensor(float(value))
    if not isinstance(value, Tensor):
        kind = "an object" if isinstance(value, _LeftOut) else f"a {type(value).__name__}"
    elif value.is_meta:
        kind = "on torch's meta device, without any numbers"
    elif value.is_quantized or value.layout != torch.strided:
        kind = "quantised" if value.is_quantized else f"stored as {value.layout}"
    else:
        return value.detach()
    raise UserError(f"{source}: {shown([name])} is {kind}. Wanted a plain tensor: save it as one.")
