"""Calls of kernels on GPUs: memory from torch, on torch's current stream, nothing waited for.

In: inputs, the numbers of rows and nodes, and the order of edges. Out: outputs. All sizes follow
from shapes, so that a call can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from tvm_equi.algebra.contraction import Rows
from tvm_equi.algebra.convolution import is_convolution
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu.arguments import copied_inputs, summed_outputs
from tvm_equi.runtime.device_order import DeviceOrder
from tvm_equi.runtime.devices import on_device
from tvm_equi.runtime.kernels import load_gpu_kernel

ROWS_PER_CHUNK = 32
MAX_CHUNKS = 1024
MAX_PARTIAL_ELEMENTS = 1 << 24
"""Sums over rows are split into chunks of at least so many rows, at most so many, whose partial
sums have at most so many elements: a function of shapes alone, so that results are the same."""

Value = tuple[int, Rows]
"""(columns, rows) of an input, output or temporary."""


@dataclass(frozen=True, slots=True)
class GpuKernel:
    """A kernel compiled for a GPU, and what a call of it needs beside its inputs.

    Args:
        function: to call.
        outputs: of the kernel.
        temporaries: of the kernel.
        copied: numbers of the inputs that it needs room for a copy of.
        summed: columns of the outputs that need sums of parts of nodes.
    """

    function: Callable[..., None]
    outputs: tuple[Value, ...]
    temporaries: tuple[Value, ...]
    copied: tuple[int, ...]
    summed: tuple[int, ...]


@lru_cache(maxsize=2048)
def gpu_kernel(kernel: Kernel, dtype: torch.dtype, device: torch.device) -> GpuKernel:
    """A kernel, ready to be called on a GPU.

    Args:
        kernel: the program.
        dtype: of its values.
        device: the GPU.

    Raises:
        ArgumentTypeError: the dtype is not supported.
        ArtifactError: see `load_gpu_kernel`.
    """

    def values(names: Sequence[str]) -> tuple[Value, ...]:
        return tuple((kernel.operand(name).dim, kernel.operand(name).rows) for name in names)

    over_edges = is_convolution(kernel)
    copied = copied_inputs(kernel) if over_edges else ()
    summed = summed_outputs(kernel) if over_edges else ()
    return GpuKernel(
        load_gpu_kernel(kernel, dtype, device),
        values(kernel.outputs),
        values(kernel.temporaries),
        tuple(kernel.inputs.index(name) for name in copied),
        tuple(kernel.operand(name).dim for name in summed),
    )


def call(
    kernel: GpuKernel,
    inputs: Sequence[torch.Tensor],
    counts: Mapping[Rows, int],
    order: DeviceOrder | None = None,
) -> list[torch.Tensor]:
    """The outputs of a kernel.

    Args:
        kernel: to call.
        inputs: checked, on one GPU.
        counts: the number of rows, of senders and of receivers; more than none.
        order: of the edges, for a kernel over them.
    """
    first = inputs[0]
    dtype = first.dtype
    sum_dtype = dtype if dtype.itemsize >= 4 else torch.float32
    shared = sum(columns for columns, rows in kernel.outputs if rows == "shared")
    chunks = num_chunks(counts["row"], shared)
    results = [
        first.new_empty((chunks, columns), dtype=sum_dtype)
        if rows == "shared"
        else first.new_empty((counts[rows], columns))
        for columns, rows in kernel.outputs
    ]
    given = [tensor.contiguous() for tensor in inputs]
    temporaries = [
        first.new_empty((counts[rows], columns), dtype=sum_dtype)
        for columns, rows in kernel.temporaries
    ]
    copies = [torch.empty_like(given[number]) for number in kernel.copied]
    num_parts = 0 if order is None else order.part_nodes.shape[0]
    parts = [first.new_empty((num_parts, columns), dtype=sum_dtype) for columns in kernel.summed]
    with on_device(first):
        kernel.function(*given, *results, *temporaries, *copies, *parts, *(order or ()))
        return [
            result.sum(0).to(dtype) if rows == "shared" else result
            for result, (_, rows) in zip(results, kernel.outputs, strict=True)
        ]


def num_chunks(rows: int, columns: int) -> int:
    """Chunks that sums over rows are split into.

    Args:
        rows: to sum.
        columns: of the sums.
    """
    by_size = MAX_PARTIAL_ELEMENTS // max(1, columns)
    return max(1, min(MAX_CHUNKS, rows // ROWS_PER_CHUNK, by_size))
