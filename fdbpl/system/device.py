"""Which device the towers run on, and how numbers come there."""

import os

import torch
from torch import Tensor

from fdbpl.system.errors import UserError
from fdbpl.system.processes import WORKER


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


def require_device(name: str) -> None:
    """Refuse a device of torch's that is not here.

    Raises:
        UserError: it is neither the processor nor a GPU that torch finds.
    """
    count = torch.cuda.device_count()
    if name not in ("cpu", *(["cuda"] if count else []), *(f"cuda:{n}" for n in range(count))):
        raise UserError(
            f"device is {name!r}, wanted 'cpu', or 'cuda' or 'cuda:1' of the GPUs here: torch "
            f"finds {count}."
        )


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Return the values on a device; on the way to a GPU nobody waits for what it still does."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def resident(values: Tensor, device: torch.device) -> Tensor:
    """Return the values on a device if they leave it three quarters of its free memory, else here.

    A processor's memory is the one they already lie in.
    """
    if device.type == "cuda" and 4 * values.nbytes > torch.cuda.mem_get_info(device)[0]:
        return values
    return values.to(device)
