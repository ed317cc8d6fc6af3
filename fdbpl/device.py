"""Which device the towers run on."""

import os

import torch

from fdbpl.errors import UserError
from fdbpl.processes import WORKER


def choose_device(wanted: str) -> str:
    """Return "cpu", "cuda", or of several GPUs this worker process's, for the parameter `device`.

    Raises:
        UserError: a GPU is wanted, and torch finds none.
    """
    is_there = torch.cuda.is_available()
    if wanted == "cuda" and not is_there:
        raise UserError("device is 'cuda', but torch finds no GPU here. Wanted 'auto' or 'cpu'.")
    if wanted == "cpu" or not is_there:
        return "cpu"
    count, number = torch.cuda.device_count(), os.environ.get(WORKER)
    return "cuda" if number is None or count == 1 else f"cuda:{int(number) % count}"
