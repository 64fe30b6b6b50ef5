"""Multiply-adds and bytes of operations, kernels and graphs, counted before anything is compiled.

In: operations or kernels. Out: counts per row, and per call for what all rows share. A coupling is
counted in its cheapest association: both factors first, or the Clebsch-Gordan tensor with the
factor that has fewer channels (*combine first*), whose result all channels of the other factor
share. The rows of a convolution are its edges; what its nodes take once each is counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod

import numpy as np

from tvm_equi.algebra.contraction import Contraction, Path, Rows, coupling_tensor
from tvm_equi.algebra.convolution import stages
from tvm_equi.algebra.kernel import Kernel, Step
from tvm_equi.graph.operations import (
    Add,
    ComposedWeights,
    Convolution,
    Cutoff,
    Linear,
    Operation,
    RadialBasis,
    ScalarMLP,
    ScatterSum,
    SphericalHarmonics,
    Sum,
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.regions import coupling_part, kernel_of, scaled_product
from tvm_equi.graph.types import Type, ValueType

DTYPE_BYTES = {"float32": 4, "float64": 8}
INDEX_BYTES = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts of one operation.

    Args:
        paths: Clebsch-Gordan paths, or paths of a linear layer.
        nonzeros: of all coupling tensors.
        multiply_adds: per row.
        row_bytes: read and written once per row.
        shared_bytes: read or written once per call.
        node_multiply_adds: per node of a convolution, by products with shared matrices.
        node_bytes: read and written once per node of a convolution.
    """

    paths: int = 0
    nonzeros: int = 0
    multiply_adds: int = 0
    row_bytes: int = 0
    shared_bytes: int = 0
    node_multiply_adds: int = 0
    node_bytes: int = 0


@lru_cache(maxsize=4096)
def _nonzeros(dims: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """Nonzeros of a coupling tensor after all axes but `axes` are summed away in structure."""
    pattern = np.abs(coupling_tensor(dims)) > 0
    others = tuple(axis for axis in range(len(dims)) if axis not in axes)
    return int(np.count_nonzero(pattern.any(axis=others) if others else pattern))


def kernel_cost(kernel: Kernel) -> Cost:
    """What a kernel does per row; derivative kernels included.

    Args:
        kernel: to count; its bytes are in the number of values, not bytes.
    """
    paths = nonzeros = multiply_adds = 0
    for step in kernel.steps:
        form = kernel.contractions[step.contraction]
        for path in form.paths:
            if any(extent == 0 for _, extent in path.extents):
                continue
            dims = tuple(form.dims(path)[slot] for slot in form.coupled)
            paths += 1
            nonzeros += _nonzeros(dims, tuple(range(len(dims))))
            multiply_adds += _path_multiply_adds(form, path, step, dims)
    row_size = shared_size = node_size = 0
    for name in (*kernel.inputs, *kernel.outputs):
        operand = kernel.operand(name)
        if operand.rows == "shared":
            shared_size += operand.dim
        elif _is_sum_of_nodes(name in kernel.outputs, operand.rows):
            node_size += operand.dim
        else:
            row_size += operand.dim
    return Cost(paths, nonzeros, multiply_adds, row_size, shared_size, node_bytes=node_size)


def _is_sum_of_nodes(is_output: bool, rows: Rows) -> bool:
    """Whether a value is written once per node, whatever the number of its edges."""
    return is_output and rows in ("sender", "receiver")


def _path_multiply_adds(form: Contraction, path: Path, step: Step, dims: tuple[int, ...]) -> int:
    """Multiply-adds of one path in its cheapest association, weights included."""
    num_combinations = prod(extent for _, extent in path.extents)
    if path.channels and any("<" in channels for channels in path.channels):
        num_combinations = path.num_channels("u<v")
    if form.family == "select":
        return 0
    if form.family == "mix":
        return num_combinations * dims[0]
    axes = {slot: axis for axis, slot in enumerate(form.coupled)}
    sources = [slot for slot in form.coupled if slot != step.output]
    channels = {slot: path.num_channels(path.channels[slot]) for slot in form.coupled}
    weights = [slot for slot in range(len(path.channels)) if slot not in axes]
    scaling = num_combinations * min(dims) if weights else 0
    nonzeros = _nonzeros(dims, tuple(range(len(dims))))
    counts = [num_combinations * (_nonzeros(dims, tuple(axes[s] for s in sources[:2])) + nonzeros)]
    for first in sources:
        rest = tuple(axis for slot, axis in axes.items() if slot != first)
        counts.append(channels[first] * nonzeros + num_combinations * _nonzeros(dims, rest))
    return min(counts) + scaling


def operation_cost(operation: Operation, inputs: Sequence[Type], output: Type) -> Cost:
    """What one operation does.

    Args:
        operation: to count.
        inputs: types of its inputs.
        output: type of its value.
    """
    if isinstance(operation, Convolution):
        return convolution_cost(operation, inputs, output)
    row_bytes = shared_bytes = 0
    for value in (*inputs, output):
        if not isinstance(value, ValueType):
            row_bytes += INDEX_BYTES
        elif value.rows == "shared":
            shared_bytes += value.dim * DTYPE_BYTES[value.dtype]
        else:
            row_bytes += value.dim * DTYPE_BYTES[value.dtype]
    match operation:
        case TensorProduct():
            counted = kernel_cost(kernel_of(coupling_part(operation)[0]))
        case Linear() | SymmetricContraction():
            counted = kernel_cost(kernel_of(operation))
        case _:
            counted = Cost(multiply_adds=_scalar_multiply_adds(operation, inputs, output))
            if not inputs:
                row_bytes = shared_bytes = 0
    return Cost(counted.paths, counted.nonzeros, counted.multiply_adds, row_bytes, shared_bytes)


def convolution_cost(operation: Convolution, inputs: Sequence[Type], output: Type) -> Cost:
    """What a convolution does: each edge reads its sender's row, each receiver is written once.

    Args:
        operation: to count.
        inputs: types of its inputs.
        output: type of its value.
    """
    row_bytes = shared_bytes = node_bytes = 0
    for value in inputs:
        if not isinstance(value, ValueType):
            row_bytes += INDEX_BYTES
        elif value.rows == "shared":
            shared_bytes += value.dim * DTYPE_BYTES[value.dtype]
        else:
            row_bytes += value.dim * DTYPE_BYTES[value.dtype]
    if isinstance(output, ValueType):
        node_bytes = output.dim * DTYPE_BYTES[output.dtype]
    parts = stages(kernel_of(scaled_product(operation)[0]))
    edges = kernel_cost(parts.edges)
    on_nodes = [kernel_cost(part) for part in (parts.before, parts.after) if part is not None]
    multiply_adds = edges.multiply_adds
    if operation.radial is not None:
        multiply_adds += operation.radial.num_hidden * operation.radial.num_columns
    if operation.harmonics is not None:
        multiply_adds += 2 * sum(2 * degree + 1 for degree in operation.harmonics.degrees)
    return Cost(
        edges.paths + sum(part.paths for part in on_nodes),
        edges.nonzeros + sum(part.nonzeros for part in on_nodes),
        multiply_adds,
        row_bytes,
        shared_bytes,
        sum(part.multiply_adds for part in on_nodes),
        node_bytes,
    )


def _scalar_multiply_adds(operation: Operation, inputs: Sequence[Type], output: Type) -> int:
    """Multiply-adds per row of an operation that is no product."""
    dim = output.dim if isinstance(output, ValueType) else 0
    match operation:
        case ScalarMLP(sizes=sizes):
            hidden = sum(a * b for a, b in pairwise(sizes[:-1]))
            return hidden + sizes[-2] * operation.num_columns
        case Add(factors=factors):
            return dim * len(factors)
        case ScatterSum() | Sum():
            return dim
        case ComposedWeights(blocks=blocks):
            return sum(term.multiply_adds for terms in blocks for term in terms)
        case RadialBasis() | SphericalHarmonics():
            return 2 * dim
        case Cutoff():
            return 4 * dim
        case _:
            return 0
