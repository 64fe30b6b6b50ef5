"""What this machine can do, measured in the same run: its matrix product and its copy.

In: counted work. Out: a copy of as many bytes and a matrix product, which take turns with the
contestants, so that noise hits them alike; and the least time that the work can take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from bench.counts import Work
from bench.timing import Call, Timing, interleave

GEMM_SIZES = (256, 512, 1024)
GEMM = "gemm"


@dataclass(frozen=True, slots=True)
class Limit:
    """The least seconds for some work: its bytes copied, its multiply-adds in a matrix product."""

    copy: float
    gemm: float

    @property
    def seconds(self) -> float:
        """The larger of the two."""
        return max(self.copy, self.gemm)

    @property
    def binds(self) -> str:
        """Which of the two is larger."""
        return "copy" if self.copy >= self.gemm else GEMM


def total(limits: Iterable[Limit]) -> tuple[float, str]:
    """The seconds of kernels that run one after another, and what binds for most of them."""
    limits = list(limits)
    seconds = sum(limit.seconds for limit in limits)
    by_copy = sum(limit.seconds for limit in limits if limit.binds == "copy")
    return seconds, "copy" if 2 * by_copy >= seconds else GEMM


@dataclass(frozen=True, slots=True)
class Yardsticks:
    """Calls that measure the limits of kernels.

    Args:
        work: of each kernel, by name.
        gemm_size: of the square matrix product.
        calls: a copy for each kernel, under `copy_name`, and the matrix product, under `GEMM`.
    """

    work: Mapping[str, Work]
    gemm_size: int
    calls: Mapping[str, Call]

    @staticmethod
    def of(work: Mapping[str, Work], gemm_size: int, dtype: torch.dtype) -> Yardsticks:
        """Prepares the calls; each has run once."""
        calls = {copy_name(name): copy_call(w.num_bytes, dtype) for name, w in work.items()}
        calls[GEMM] = gemm_call(gemm_size, dtype)
        for call in calls.values():
            call()
        return Yardsticks(work, gemm_size, calls)

    def calls_for(self, kernels: Iterable[str]) -> dict[str, Call]:
        """The calls that the limits of some kernels need."""
        return {name: self.calls[name] for name in (*map(copy_name, kernels), GEMM)}

    def limit(self, kernel: str, timings: Mapping[str, Timing]) -> Limit:
        """The limit of a kernel by the timings of `calls_for`."""
        rate = self.gemm_size**3 / timings[GEMM].median
        return Limit(timings[copy_name(kernel)].median, self.work[kernel].macs / rate)


def copy_name(kernel: str) -> str:
    """The name of the copy that moves as many bytes as a kernel."""
    return f"copy {kernel}"


def copy_call(num_bytes: int, dtype: torch.dtype) -> Call:
    """A copy that reads half of `num_bytes` and writes the other half, into memory that exists."""
    source = torch.ones(max(1, num_bytes // (2 * dtype.itemsize)), dtype=dtype)
    target = torch.zeros_like(source)
    return lambda: target.copy_(source)


def gemm_call(size: int, dtype: torch.dtype) -> Call:
    """A square matrix product into memory that exists."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    out = torch.empty(size, size, dtype=dtype)
    return lambda: torch.mm(a, b, out=out)


def gemm_rates(dtype: torch.dtype, seconds: float) -> dict[int, float]:
    """Multiply-adds per second of square matrix products, by size, on torch's threads."""
    calls = {str(size): gemm_call(size, dtype) for size in GEMM_SIZES}
    for call in calls.values():
        call()
    timings = interleave(calls, seconds)
    return {size: size**3 / timings[str(size)].median for size in GEMM_SIZES}
