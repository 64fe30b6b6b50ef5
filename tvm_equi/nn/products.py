"""e3nn's tensor products with ready-made instructions.

In: irreps of the inputs and, for some, of the output. Out: `TensorProduct`s with the instructions,
path weights and order of irreps that e3nn gives them.

A layout of "ir_mul" is that of the module's own `irreps_in1`, `irreps_in2` and `irreps_out`: where
e3nn merges equal neighbours ("2x1o + 3x1o" to "5x1o") or splits irreps, the channels of the merged
or split irreps lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from e3nn.o3 import Irrep, Irreps

from tvm_equi.errors import ArgumentError
from tvm_equi.nn.arguments import parse_filter, parse_irreps
from tvm_equi.nn.tensor_product import TensorProduct


class FullyConnectedTensorProduct(TensorProduct):
    """Weighted sum over all paths that symmetry allows, as `e3nn.o3.FullyConnectedTensorProduct`.

    Args:
        irreps_in1: irreps of the first input.
        irreps_in2: irreps of the second input.
        irreps_out: irreps of the output.
        irrep_normalization: see `TensorProduct`.
        path_normalization: see `TensorProduct`.
        **options: other arguments of `TensorProduct`, `layout` included.

    Raises:
        ArgumentError: see `TensorProduct`.

    Example:
        >>> FullyConnectedTensorProduct("4x0e + 2x1o", "1o", "3x1o", internal_weights=False)
        FullyConnectedTensorProduct(4x0e+2x1o x 1x1o -> 3x1o | 12 paths | 12 weights)
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        irrep_normalization: str | None = None,
        path_normalization: str | None = None,
        **options: Any,
    ) -> None:
        where = type(self).__name__
        in1 = parse_irreps(where, "irreps_in1", irreps_in1)
        in2 = parse_irreps(where, "irreps_in2", irreps_in2)
        out = parse_irreps(where, "irreps_out", irreps_out)
        instructions = [
            (i, j, k, "uvw", True, 1.0)
            for i, (_, ir1) in enumerate(in1)
            for j, (_, ir2) in enumerate(in2)
            for k, (_, ir_out) in enumerate(out)
            if ir_out in ir1 * ir2
        ]
        options |= {
            "irrep_normalization": irrep_normalization,
            "path_normalization": path_normalization,
        }
        super().__init__(in1, in2, out, instructions, **options)


class FullTensorProduct(TensorProduct):
    """Every product of an irrep of x with one of y, as `e3nn.o3.FullTensorProduct`; no weights.

    Args:
        irreps_in1: irreps of the first input; equal neighbours are merged.
        irreps_in2: irreps of the second input, likewise.
        filter_ir_out: irreps that the output keeps; None for all.
        irrep_normalization: see `TensorProduct`.
        **options: other arguments of `TensorProduct`, `layout` included.

    Raises:
        ArgumentError: see `TensorProduct`, or `filter_ir_out` is no list of irreps.

    Example:
        >>> FullTensorProduct("2x1o", "0e + 1o")
        FullTensorProduct(2x1o x 1x0e+1x1o -> 2x0e+2x1o+2x1e+2x2e | 8 paths | 0 weights)
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        filter_ir_out: Iterable[Any] | None = None,
        irrep_normalization: str | None = None,
        **options: Any,
    ) -> None:
        where = type(self).__name__
        in1 = parse_irreps(where, "irreps_in1", irreps_in1).simplify()
        in2 = parse_irreps(where, "irreps_in2", irreps_in2).simplify()
        kept = parse_filter(where, filter_ir_out)
        blocks = [
            (mul1 * mul2, ir_out, i, j)
            for i, (mul1, ir1) in enumerate(in1)
            for j, (mul2, ir2) in enumerate(in2)
            for ir_out in ir1 * ir2
            if kept is None or ir_out in kept
        ]
        out, order, _ = Irreps([(mul, ir) for mul, ir, _, _ in blocks]).sort()
        instructions = [(i, j, order[k], "uvuv", False) for k, (_, _, i, j) in enumerate(blocks)]
        options["irrep_normalization"] = irrep_normalization
        super().__init__(in1, in2, out, instructions, **options)


class ElementwiseTensorProduct(TensorProduct):
    """Products channel by channel, as `e3nn.o3.ElementwiseTensorProduct`; it has no weights.

    Args:
        irreps_in1: irreps of the first input.
        irreps_in2: irreps of the second input, with as many channels; both are split where the
            other changes.
        filter_ir_out: irreps that the output keeps; None for all.
        irrep_normalization: see `TensorProduct`.
        **options: other arguments of `TensorProduct`, `layout` included.

    Raises:
        ArgumentError: numbers of channels differ; see `TensorProduct` for others.

    Example:
        >>> ElementwiseTensorProduct("5x1o + 5x1e", "10x1e", ["0e", "0o"])
        ElementwiseTensorProduct(5x1o+5x1e x 10x1e -> 5x0o+5x0e | 10 paths | 0 weights)
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        filter_ir_out: Iterable[Any] | None = None,
        irrep_normalization: str | None = None,
        **options: Any,
    ) -> None:
        where = type(self).__name__
        in1 = parse_irreps(where, "irreps_in1", irreps_in1).simplify()
        in2 = parse_irreps(where, "irreps_in2", irreps_in2).simplify()
        kept = parse_filter(where, filter_ir_out)
        if in1.num_irreps != in2.num_irreps:
            raise ArgumentError(
                f"{where}: irreps_in2: expected {in1.num_irreps} channels as irreps_in1 ({in1}), "
                f"got {in2.num_irreps} ({in2})"
            )
        pairs = list(_aligned(in1, in2))
        blocks = [
            (mul, ir_out, number)
            for number, (mul, ir1, ir2) in enumerate(pairs)
            for ir_out in ir1 * ir2
            if kept is None or ir_out in kept
        ]
        instructions = [(n, n, k, "uuu", False) for k, (_, _, n) in enumerate(blocks)]
        options["irrep_normalization"] = irrep_normalization
        super().__init__(
            Irreps([(mul, ir1) for mul, ir1, _ in pairs]),
            Irreps([(mul, ir2) for mul, _, ir2 in pairs]),
            Irreps([(mul, ir_out) for mul, ir_out, _ in blocks]),
            instructions,
            **options,
        )


def _aligned(in1: Irreps, in2: Irreps) -> Iterator[tuple[int, Irrep, Irrep]]:
    """(mul, ir1, ir2) of the longest runs of channels in which neither irrep changes."""
    left, right = list(in1), list(in2)
    while left and right:
        (mul1, ir1), (mul2, ir2) = left.pop(0), right.pop(0)
        mul = min(mul1, mul2)
        yield mul, ir1, ir2
        if mul1 > mul:
            left.insert(0, (mul1 - mul, ir1))
        if mul2 > mul:
            right.insert(0, (mul2 - mul, ir2))
