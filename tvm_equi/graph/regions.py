"""Operations that do arithmetic on irreps -> kernels.

In: a tensor product, convolution, linear layer or symmetric contraction. Out: the kernel that
computes it, and for a product some of whose paths are left out, which of the weights remain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, linear_kernel, tensor_product_kernel
from tvm_equi.algebra.symmetric_kernel import symmetric_kernel
from tvm_equi.graph.operations import (
    Convolution,
    Linear,
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.operations.products import is_allowed
from tvm_equi.graph.types import parse_irreps

Ranges = tuple[tuple[int, int], ...]
"""(start, end) of the weights that remain, in order; neighbours are merged."""


def couples(operation: TensorProduct, instruction: Instruction) -> bool:
    """Whether an instruction can give anything but zero."""
    left, right, out = operation.irreps_of(instruction)
    return (
        instruction.coefficient != 0.0
        and is_allowed(left, right, out)
        and 0 not in (left.mul, right.mul, out.mul)
    )


def keep_instructions(
    operation: TensorProduct, is_kept: Callable[[Instruction], bool]
) -> tuple[TensorProduct, Ranges]:
    """The product with some of its instructions, and the weights that they read."""
    sizes = operation.weight_sizes()
    kept = [is_kept(instruction) for instruction in operation.instructions]
    instructions = tuple(
        instruction for instruction, keep in zip(operation.instructions, kept, strict=True) if keep
    )
    ranges = kept_ranges(sizes, kept)
    has_weights = any(instruction.has_weight for instruction in instructions)
    weights = operation.weights if has_weights else "none"
    return replace(operation, instructions=instructions, weights=weights), ranges


def kept_ranges(sizes: tuple[int, ...], kept: list[bool]) -> Ranges:
    """Where the kept blocks lie, when all blocks lie side by side."""
    ranges: list[tuple[int, int]] = []
    start = 0
    for size, keep in zip(sizes, kept, strict=True):
        if keep and size:
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], start + size)
            else:
                ranges.append((start, start + size))
        start += size
    return tuple(ranges)


@lru_cache(maxsize=1024)
def coupling_part(operation: TensorProduct) -> tuple[TensorProduct, Ranges]:
    """The product without instructions that can only give zero, and the weights of the rest."""
    return keep_instructions(operation, lambda instruction: couples(operation, instruction))


@lru_cache(maxsize=1024)
def kernel_of(operation: TensorProduct | Linear | SymmetricContraction) -> Kernel:
    """The kernel of a product, linear layer or symmetric contraction, biases aside.

    Args:
        operation: a product must have no instruction that is zero by symmetry; see `coupling_part`.

    Returns:
        A kernel with inputs x, y (of a product; of a symmetric contraction a one, [1]) and w (where
        there are weights), and the output z.
    """

    def pairs(irreps: str) -> tuple[tuple[int, int], ...]:
        return tuple((irrep.mul, irrep.degree) for irrep in parse_irreps(irreps))

    if isinstance(operation, Linear):
        return linear_kernel(
            pairs(operation.irreps_in),
            pairs(operation.irreps_out),
            tuple((path.i_in, path.i_out, path.coefficient) for path in operation.paths),
            weight_rows=operation.weights,
            layout=operation.layout,
        )
    if isinstance(operation, SymmetricContraction):
        return symmetric_kernel(
            operation.irs(operation.irreps_in),
            operation.irs(operation.irreps_out),
            operation.correlation,
            operation.mul,
            weight_rows=operation.weights,
            layout=operation.layout,
        )
    return tensor_product_kernel(
        pairs(operation.irreps_in1),
        pairs(operation.irreps_in2),
        pairs(operation.irreps_out),
        operation.instructions,
        weight_rows=operation.weights,
        layout=operation.layout,
    )


@lru_cache(maxsize=1024)
def scaled_product(operation: Convolution) -> tuple[TensorProduct, Ranges]:
    """The part of a convolution's product that is not zero by symmetry, with the factor in it.

    Args:
        operation: to take apart.

    Returns:
        A product, and the weights that it reads, as `coupling_part` gives them.
    """
    scaled = tuple(
        replace(instruction, coefficient=instruction.coefficient * operation.factor)
        for instruction in operation.product.instructions
    )
    return coupling_part(replace(operation.product, instructions=scaled))
