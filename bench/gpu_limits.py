"""What a GPU can do, measured in the same run, and how long counted work takes at least.

In: a device and a timer. Out: bytes per second of a large copy inside the device's memory, and
floating-point operations per second of a large matrix product in each dtype, TF32 off. For float64
an H100 multiplies matrices on its tensor cores, which a tensor product's kernels do not use: its
limit is then twice too high, and a share of it too low.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch

from bench.counts import Work
from bench.gpu_timing import Effort, Timer, race
from bench.options import DTYPES

COPY_BYTES = {"cuda": 2 << 30, "cpu": 4 << 20}
"""Bytes that the copy reads; it writes as many."""

GEMM_SIZES = {"cuda": (4096, 8192), "cpu": (64, 128)}


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates of a device.

    Args:
        bytes_per_second: of a copy, read and written ones together.
        flops: floating-point operations per second of a matrix product, by dtype.
    """

    bytes_per_second: float
    flops: dict[str, float]

    def as_json(self) -> dict[str, object]:
        """Fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        """For a line of a report."""
        rates = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in self.flops.items())
        return f"copy {self.bytes_per_second / 1e9:.4g} GB/s; matrix product: {rates}"


@dataclass(frozen=True, slots=True)
class Floor:
    """The least time of some work by its bytes, by its operations, and by the roofline.

    Args:
        memory: seconds that all bytes take.
        arithmetic: seconds that all operations take.
        roofline: the sum over kernels of the larger of the two.
        num_bytes: of all kernels.
        flops: of all kernels; a multiply-add has two.
    """

    memory: float
    arithmetic: float
    roofline: float
    num_bytes: int
    flops: int

    @property
    def binds(self) -> str:
        """What most of the time is for."""
        return "memory" if self.memory >= self.arithmetic else "arithmetic"


def measure(device: torch.device, dtypes: Iterable[str], timer: Timer, effort: Effort) -> Limits:
    """The rates of a device now."""
    size = COPY_BYTES[device.type]
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.zeros_like(source)
    calls = {"copy": lambda: target.copy_(source)}
    for dtype in dtypes:
        for side in GEMM_SIZES[device.type]:
            calls[f"{dtype} {side}"] = _gemm(side, DTYPES[dtype], device)
    timings, reasons = race(calls, timer, effort)
    if reasons:
        raise RuntimeError(f"limits: {reasons}")
    flops = {
        dtype: max(
            2 * side**3 / timings[f"{dtype} {side}"].median for side in GEMM_SIZES[device.type]
        )
        for dtype in dtypes
    }
    return Limits(2 * size / timings["copy"].median, flops)


def _gemm(side: int, dtype: torch.dtype, device: torch.device) -> object:
    """A square matrix product into memory that exists."""
    a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def floor(work: Iterable[Work], limits: Limits, dtype: str) -> Floor:
    """The least time of kernels that run one after another."""
    work = list(work)
    pairs = [
        (each.num_bytes / limits.bytes_per_second, 2 * each.macs / limits.flops[dtype])
        for each in work
    ]
    return Floor(
        sum(pair[0] for pair in pairs),
        sum(pair[1] for pair in pairs),
        sum(max(pair) for pair in pairs),
        sum(each.num_bytes for each in work),
        sum(2 * each.macs for each in work),
    )
