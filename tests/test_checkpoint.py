"""A training that was interrupted ends as if it had not been."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.methods.params import TrainParams
from fdbpl.training import checkpoint as module
from fdbpl.training.checkpoint import Checkpoint, State
from fdbpl.training.learning import Learned, learn
from fdbpl.training.store import TrainingStore

NAMES = ("cat", "dog", "sea side")
CROPS, IMAGES, EPOCHS, STEPS = 2, 9, 4, 3  # steps an epoch: the ninth image is left out
SEEDS = (1, 2)
SHADES = torch.arange(3 * 32 * 32).view(3, 32, 32)
BEFORE = {"fdbpl": 2}  # readings for its bridge, of each seed, whenever it begins
BOTH_TOWERS = ("promptsrc", "promptkd")  # which keep a mean of epochs, and moments of batches


class Interrupted(Exception):  # noqa: N818 - as the word is
    """Somebody stopped the process."""


class Data:
    """Features of regions, whose source fails when it was asked often enough."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.student = torch.from_numpy(unit(rng, IMAGES * CROPS, 32))
        self.rest: dict[str, Any] = {
            "teacher": unit(rng, IMAGES * CROPS, 24),
            "teacher_vectors": unit(rng, len(NAMES), 24),
            "teacher_scale": 18.7,
            "labels": np.arange(IMAGES) % len(NAMES),
            "anchors": unit(rng, len(NAMES), 32),
            "pixels": lambda rows: (rows[..., None, None, None] * SHADES % 256).byte(),
            "crops": CROPS,
            "picks": {seed: np.arange(IMAGES) for seed in SEEDS},
            "params": TrainParams(lr=0.1, epochs=EPOCHS, batch=3),
        }
        self.asked = 0

    def learn(self, clip: ClipModel, method: str, stop: int | None = None, **more: Any) -> Any:
        self.asked = 0

        def student(rows: Tensor) -> Tensor:
            if self.asked == stop:
                raise Interrupted
            self.asked += 1
            return self.student[rows]

        return learn(clip, NAMES, student=student, **{**self.rest, **more}, method=method)


def store_of(folder: Path, data: str = "data") -> TrainingStore:
    return TrainingStore(folder, dict.fromkeys(SEEDS, data))


@pytest.fixture
def data() -> Data:
    return Data()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write after every step."""
    monkeypatch.setattr(module, "SECONDS", 0.0)


def bits(runs: dict[int, Learned]) -> list[Any]:
    return [
        (
            seed,
            one.names,
            {name: array.tobytes() for name, array in one.arrays.items()},
            json.dumps(one.history),  # which keeps the order of terms
        )
        for seed, one in runs.items()
    ]


@pytest.mark.parametrize("method", ["coop", "paper", "fdbpl", *BOTH_TOWERS])
@pytest.mark.parametrize("stops", [(0,), (1,), (STEPS,), (STEPS + 1, 2, 1), (STEPS * EPOCHS - 1,)])
def test_an_interrupted_training_ends_in_the_same_bits(
    clip: ClipModel, data: Data, tmp_path: Path, at_once, method: str, stops: tuple[int, ...]
) -> None:
    wanted = bits(data.learn(clip, method))
    for stop in stops:
        with pytest.raises(Interrupted):
            data.learn(clip, method, stop + BEFORE.get(method, 0), store=store_of(tmp_path))
    store = store_of(tmp_path)
    assert bits(data.learn(clip, method, store=store)) == wanted
    assert store.resumed == ({method: (sum(stops) - 1) // STEPS} if sum(stops) else {})
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_short_training_writes_nothing_before_its_end(clip, data: Data, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        data.learn(clip, "coop", stop=5, store=store_of(tmp_path))
    assert list(tmp_path.iterdir()) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


def overwrite(path: Path) -> None:
    path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("harm", "more"),
    [(cut, {}), (flip, {}), (overwrite, {}),
     (str, {"params": TrainParams(lr=0.2, epochs=EPOCHS, batch=3)})],
)  # fmt: skip
def test_what_is_damaged_or_of_another_training_is_ignored(
    clip: ClipModel, data: Data, tmp_path: Path, at_once, harm: Callable[[Path], None], more
) -> None:
    with pytest.raises(Interrupted):
        data.learn(clip, "coop", stop=5, store=store_of(tmp_path))
    (path,) = tmp_path.iterdir()
    harm(path)
    store = store_of(tmp_path)
    found = data.learn(clip, "coop", store=store, **more)
    assert bits(found) == bits(data.learn(clip, "coop", **more))
    assert store.resumed == {}


def test_no_flipped_bit_is_taken_for_another_place(tmp_path: Path, at_once) -> None:
    path = tmp_path / "file"
    state = State(3, 1, {"b": torch.ones(2, 3), "a": torch.arange(4.0)})
    Checkpoint(path, "key").save_if_due(lambda: state)
    whole = path.read_bytes()
    found = Checkpoint(path, "key").load()
    assert (found.epoch, found.step, list(found.tensors)) == (3, 1, ["b", "a"])
    assert Checkpoint(path, "other").load() is None
    head = 8 + int.from_bytes(whole[:8], "little")
    for place in range(head):
        for bit in range(8):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            path.write_bytes(content)
            found = Checkpoint(path, "key").load()
            if found is not None:  # as where the head's own spaces are touched
                assert (found.epoch, found.step, list(found.tensors)) == (3, 1, ["b", "a"])
    Checkpoint(path, "key").remove()
    assert not path.exists()
