"""Files of weights as other programs save them: read alike, or refused in one line."""

import argparse
import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor

from fdbpl.clip.weights_file import read_weights
from fdbpl.system.errors import UserError

PARTS = ("visual", "text", "logit_scale")
STATE = {
    "visual.stem.weight": torch.arange(6.0).reshape(2, 3),
    "visual.stem.steps": torch.tensor(7),
    "text.proj": torch.linspace(-1, 1, 8, dtype=torch.float16),
    "text.other": torch.linspace(-1, 1, 4, dtype=torch.bfloat16),
    "logit_scale": torch.tensor(2.5),
}


def read(path: Path) -> dict[str, Tensor]:
    return read_weights(path, f"student.weights: {path}", PARTS)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    said = str(error.value)
    assert said.startswith(f"student.weights: {path}: ")
    assert "\n" not in said
    assert "\x1b" not in said
    assert "weights_only" not in said  # torch's advice is to load it all the same
    return said


class Part(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def modules(state: dict[str, Tensor]) -> torch.nn.Module:
    """Modules whose state dict is `state`."""
    root = Part()
    for name, tensor in state.items():
        *path, last = name.split(".")
        at: Any = root
        for part in path:
            if part not in at._modules:
                at.add_module(part, Part())
            at = at._modules[part]
        at.register_buffer(last, tensor)
    return root


def without_scale() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in STATE.items() if name != "logit_scale"}


def wrapped(prefix: str, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in (state or STATE).items()}


def parameter(tensor: Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(tensor, requires_grad=tensor.is_floating_point())


def scripted(path: Path) -> None:
    torch.jit.script(modules(STATE)).save(str(path))


def traced(path: Path) -> None:
    torch.jit.trace(modules(STATE), torch.zeros(1)).save(str(path))


BESIDE = {
    "best": np.float64(0.5),
    "curve": np.arange(3),
    "args": argparse.Namespace(lr=0.1, out=Path("x")),
    "epoch": 3,
    "optimizer": {"state": {0: {"moment": torch.ones(2)}}, "param_groups": []},
}
WAYS: dict[str, Callable[[Path], None]] = {
    "safetensors": lambda path: save_file(STATE, path),
    "torch": lambda path: torch.save(STATE, path),
    "old torch": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    "parameters": lambda path: torch.save({k: parameter(v) for k, v in STATE.items()}, path),
    "state_dict": lambda path: torch.save({"state_dict": STATE, "ema": STATE, **BESIDE}, path),
    "model": lambda path: torch.save({"model": STATE, **BESIDE}, path),
    "parallel": lambda path: torch.save(wrapped("module."), path),
    "compiled": lambda path: torch.save({"state_dict": wrapped("_orig_mod.")}, path),
    "both": lambda path: torch.save(wrapped("module._orig_mod."), path),
    "encoder": lambda path: save_file(wrapped("image_encoder."), path),
    "scale apart": lambda path: torch.save(
        {"model": without_scale(), "logit_scale": torch.tensor(2.5)}, path
    ),
    "scale outside": lambda path: torch.save(
        {**wrapped("model.", without_scale()), "logit_scale": torch.tensor(2.5)}, path
    ),
    "scale a number": lambda path: torch.save({**STATE, "logit_scale": 2.5}, path),
    "TorchScript": scripted,
    "TorchScript, traced": traced,
}


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_tensors(tmp_path: Path, way: str) -> None:
    path = tmp_path / "blob"  # as the hub's cache calls it: the name tells nothing
    WAYS[way](path)
    found = read(path)
    assert found.keys() == STATE.keys()
    for name, tensor in found.items():
        assert type(tensor) is Tensor
        assert not tensor.requires_grad
        assert tensor.dtype == STATE[name].dtype
        assert torch.equal(tensor, STATE[name])


class Runs(torch.nn.Module):
    """A TorchScript module whose code runs when torch loads it."""

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return torch.zeros(2), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        raise RuntimeError("it ran")

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_the_code_of_an_archive_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.jit.script(Runs()).save(str(path))
    with pytest.raises(Exception, match="it ran"):
        torch.jit.load(str(path))
    refusal(path)
    whole = modules(STATE)
    whole.add_module("trap", Runs())
    torch.jit.script(whole).save(str(path))
    assert read(path).keys() == STATE.keys()


class Harmful:
    def __init__(self, made: Path):
        self._made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._made,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_objects_that_could_run_something_are_named(tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "weights.pt"
    for content in ({**STATE, "text.proj": Harmful(made)}, {"state_dict": STATE, "x": Part()}):
        torch.save(content, path)
        assert "an object beside weights that is not made" in refusal(path)
    path.write_bytes(pickle.dumps(Harmful(made)))
    refusal(path)
    assert not made.exists()


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"<html>", "a web page"),
        (json.dumps({"error": "Not found"}).encode(), "JSON"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "a pointer of Git LFS",
        ),
        (gzip.compress(save(STATE)), "compressed by gzip"),
        (zipped(**{"weights.safetensors": save(STATE)}), "a zip archive of 'weights.safetensors'"),
        (b"PK\x03\x04 no zip", "damaged"),
        (b"not weights", "damaged"),
        (save(STATE)[:60], "damaged"),
        (b"\x93NUMPY\x01\x00", "an array of numpy"),
    ],
)
def test_what_is_no_weights_is_told_for_what_it_is(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "ViT-B-32.pt"
    path.write_bytes(data)
    assert f"no readable weights: {says}" in refusal(path)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "gone")
    assert "a folder or device" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        ({"text.proj": torch.zeros(2, device="meta")}, "'text.proj' is on torch's meta device"),
        ({"text.proj": torch.eye(2).to_sparse()}, "'text.proj' is stored as torch.sparse_coo"),
        ({"text.proj": "words"}, "'text.proj' is a str"),
        ({"text.proj": 3.0}, "'text.proj' is a float"),
        ({"logit_scale": np.float64(2.5)}, "'logit_scale' is an object"),
        ({"text.proj": None}, "'text.proj' is a NoneType"),
        ({3: torch.zeros(1)}, "a state dict whose names are"),
    ],
)
def test_what_is_no_plain_tensor_is_named(tmp_path: Path, spoilt: Any, says: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save({**STATE, **spoilt}, path)
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "a list, no state dict"),
        ({}, "an empty dict"),
        ({"epoch": 3}, "no tensors, but 'epoch'"),
        ({"state_dict": 3}, "its state_dict is a int"),
        ({"state_dict": {}}, "names are none"),
        ({"model": STATE, "ema": STATE}, "several state dicts, 'model', 'ema'"),
    ],
)
def test_what_holds_no_state_dict_or_several(tmp_path: Path, content: Any, says: str) -> None:
    torch.save(content, tmp_path / "weights.pt")
    assert says in refusal(tmp_path / "weights.pt")


def test_an_archive_that_would_fill_the_memory_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"text.proj": torch.zeros(1 << 20)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole:
        files = {name: whole.read(name) for name in whole.namelist()}
    (tmp_path / "bomb.pt").write_bytes(zipped(**files))
    assert "would unpack to 4,1" in refusal(tmp_path / "bomb.pt")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("sound") / "weights"
    found = {}
    for way in ("safetensors", "state_dict", "old torch", "TorchScript"):
        WAYS[way](path)
        found[way] = path.read_bytes()
    return found


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_gives_tensors_or_one_line(tmp_path_factory, files, data) -> None:
    whole = files[data.draw(st.sampled_from(sorted(files)))]
    path = tmp_path_factory.mktemp("damaged") / "weights"
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(("bit", "cut", "zeros")))
    if kind == "bit":
        spoilt = bytearray(whole)
        spoilt[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        spoilt = bytearray(whole[:at] + bytes(len(whole) - at if kind == "zeros" else 0))
    path.write_bytes(spoilt)
    with suppress(UserError):
        assert all(type(tensor) is Tensor for tensor in read(path).values())
