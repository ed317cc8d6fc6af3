"""How many threads a step deserves: small tensors are slower on many than on one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

ENOUGH_FOR_ALL = 2**18
"""Numbers in a layer's activations from which torch's own choice of threads is used.

Below it threads mostly wait for one another: training a tiny model on two threads took ten times
as long as on one when the machine had anything else to do.
"""


@contextmanager
def threads_for(numbers: int) -> Iterator[None]:
    """Run the block on one thread if its tensors have few `numbers`, else on torch's choice."""
    chosen = torch.get_num_threads()
    torch.set_num_threads(1 if numbers < ENOUGH_FOR_ALL else chosen)
    try:
        yield
    finally:
        torch.set_num_threads(chosen)
