import os

import pytest
import torch

from fdbpl.cache.workers import process_pool
from fdbpl.system.device import choose_device
from fdbpl.system.errors import UserError
from fdbpl.system.processes import WORKER


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_without_a_gpu_the_processor_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(UserError, match="torch finds no GPU"):
        choose_device("cuda")


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_workers_share_out_the_gpus(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    gpus(monkeypatch, 3)
    monkeypatch.delenv(WORKER, raising=False)
    assert choose_device(wanted) == "cuda"
    for number, device in enumerate(["cuda:0", "cuda:1", "cuda:2", "cuda:0"]):
        monkeypatch.setenv(WORKER, str(number))
        assert choose_device(wanted) == device
        assert choose_device("cpu") == "cpu"
    gpus(monkeypatch, 1)
    assert choose_device(wanted) == "cuda"


def number() -> str:
    return os.environ[WORKER]


def test_every_worker_process_has_a_number_of_its_own() -> None:
    with process_pool(2) as pool:
        assert {pool.submit(number).result() for _ in range(8)} <= {"0", "1"}
    assert WORKER not in os.environ
