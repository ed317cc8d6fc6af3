"""A training that was interrupted ends as if it had not been."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit
from fdbpl.training.interim import Interim
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.methods.params import TrainParams
from fdbpl.training import interim as module
from fdbpl.training.learning import learn
from fdbpl.training.loop import Trained

NAMES = ("cat", "dog", "sea side")
CROPS, IMAGES, EPOCHS, STEPS = 2, 9, 4, 3  # steps an epoch: the ninth image is left out
SEEDS = (1, 2)


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

        return learn(clip, NAMES, student=student, **self.rest, method=method, **more)


@pytest.fixture
def data() -> Data:
    return Data()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write after every step."""
    monkeypatch.setattr(module, "SECONDS", 0.0)
    return


def bits(runs: dict[int, Trained]) -> list[Any]:
    return [
        (seed, one.contexts.numpy().tobytes(), list(one.terms.items()), one.gradients,
         [(epoch, list(norms)) for epoch, norms in one.gradients.items()],
         one.diagnoses, one.inactive,
         *(None if x is None else x.tobytes() for x in (one.memory, one.bridge)), one.held_out)
        for seed, one in runs.items()
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["coop", "paper", "fdbpl"])
@pytest.mark.parametrize("stops", [(0,), (1,), (STEPS,), (STEPS + 1, 2, 1), (STEPS * EPOCHS - 1,)])
def test_an_interrupted_training_ends_in_the_same_bits(
    clip: ClipModel, data: Data, tmp_path: Path, at_once, method: str, stops: tuple[int, ...]
) -> None:
    wanted = bits(data.learn(clip, method))
    before = 1 if method == "fdbpl" else 0  # reading, for what memory and bridge are told by
    path = tmp_path / "interim"
    for stop in stops:
        with pytest.raises(Interrupted):
            data.learn(clip, method, stop + before, interim=Interim(path, "key"))
    last = Interim(path, "key")
    assert bits(data.learn(clip, method, interim=last)) == wanted
    assert last.resumed == ((sum(stops) - 1) // STEPS if sum(stops) else None)


def test_a_training_that_is_done_is_not_done_again(
    clip: ClipModel, data: Data, tmp_path: Path, at_once
) -> None:
    path = tmp_path / "interim"
    wanted = data.learn(clip, "coop", interim=Interim(path, "key"))
    again = data.learn(clip, "coop", stop=0, interim=Interim(path, "key"))
    assert bits(again) == bits(wanted)
    assert data.asked == 0
    Interim(path, "key").remove()
    assert not path.exists()
    Interim(path, "key").remove()


def test_a_short_training_writes_nothing(clip: ClipModel, data: Data, tmp_path: Path) -> None:
    data.learn(clip, "coop", interim=Interim(tmp_path / "folder" / "interim", "key"))
    assert list(tmp_path.iterdir()) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "key"),
    [(cut, "key"), (flip, "key"), (lambda path: path.write_bytes(b"x"), "key"),
     (lambda path: None, "another")],
)  # fmt: skip
def test_what_is_damaged_or_of_another_training_is_ignored(
    clip: ClipModel, data: Data, tmp_path: Path, at_once, harm: Callable[[Path], None], key: str
) -> None:
    path = tmp_path / "interim"
    with pytest.raises(Interrupted):
        data.learn(clip, "coop", stop=5, interim=Interim(path, "key"))
    assert Interim(path, "key").load() is not None
    harm(path)
    found = Interim(path, key)
    assert bits(data.learn(clip, "coop", interim=found)) == bits(data.learn(clip, "coop"))
    assert found.resumed is None


def test_no_flipped_bit_is_taken_for_another_place(
    clip: ClipModel, data: Data, tmp_path: Path, at_once
) -> None:
    path = tmp_path / "interim"
    with pytest.raises(Interrupted):
        data.learn(clip, "coop", stop=5, interim=Interim(path, "key"))
    whole = path.read_bytes()
    wanted = Interim(path, "key").load()
    assert wanted is not None
    head = 8 + int.from_bytes(whole[:8], "little")
    for place in range(head):
        for bit in range(8):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            path.write_bytes(content)
            found = Interim(path, "key").load()
            if found is not None:  # as where the head's own spaces are touched
                assert (found.epoch, found.step) == (wanted.epoch, wanted.step)
                assert list(found.tensors) == list(wanted.tensors)
