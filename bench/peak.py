"""The limit beside every figure: what a matrix product reaches on the same machine."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

REPEATS = 6


def product_peak(device: str, precision: str) -> float:
    """Measure the best rate of a matrix product, in 1e9 operations a second, torch's threads."""
    size = 2048 if device == "cpu" else 8192
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    best = float("inf")
    for _ in range(REPEATS):
        synchronise(device)
        start = time.perf_counter()
        torch.mm(a, b)
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def synchronise(device: str) -> None:
    """Wait for a GPU to have done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def gflop(work: Callable[[], object]) -> float:
    """Count the operations of matrix products and convolutions in `work`, in 1e9."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # torch does not count within the fused one
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() / 1e9
