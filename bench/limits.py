"""What this machine can do, measured in the same run: its matrix product and its copy.

In: a dtype, or a number of bytes. Out: multiply-adds per second, or a copy to be timed beside the
contestants.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.timing import interleave

GEMM_SIZES = (256, 512, 1024, 2048)


def gemm_rates(dtype: torch.dtype, seconds: float) -> dict[int, float]:
    """Multiply-adds per second of square matrix products, by size, on torch's threads."""
    calls = {str(size): _gemm(size, dtype) for size in GEMM_SIZES}
    for call in calls.values():
        call()
    timings = interleave(calls, seconds)
    return {size: size**3 / timings[str(size)].median for size in GEMM_SIZES}


def _gemm(size: int, dtype: torch.dtype) -> Callable[[], object]:
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    out = torch.empty(size, size, dtype=dtype)
    return lambda: torch.mm(a, b, out=out)


def copy_call(num_bytes: int, dtype: torch.dtype) -> Callable[[], object]:
    """A copy that reads half of `num_bytes` and writes the other half, into memory that exists."""
    source = torch.ones(max(1, num_bytes // (2 * dtype.itemsize)), dtype=dtype)
    target = torch.zeros_like(source)
    return lambda: target.copy_(source)
