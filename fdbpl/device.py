"""Which device the towers run on."""

import torch

from fdbpl.errors import UserError


def choose_device(wanted: str) -> str:
    """Return "cpu" or "cuda" for the parameter `device`.

    Raises:
        UserError: a GPU is wanted, and torch finds none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda', but torch finds no GPU here. Wanted 'auto' or 'cpu'.")
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"
