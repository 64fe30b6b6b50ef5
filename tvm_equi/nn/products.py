"""e3nn's tensor products with ready-made instructions.

In: irreps of the inputs and, for some, of the output. Out: `TensorProduct`s with the instructions, path weights and
order of irreps that e3nn gives them.

A layout of "ir_mul" is that of the module's own `irreps_in1`, `irreps_in2` and `irreps_out`: where e3nn merges equal
neighbours ("2x1o + 3x1o" to "5x1o") or splits irreps, the channels of the merged or split irreps lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from e3nn.o3 import Irrep, Irreps

from tvm_equi.errors import ArgumentError
from tvm_equi.nn.arguments import check_choice, parse_filter, parse_irreps
from tvm_equi.nn.tensor_product import TensorProduct, Weight


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
    """Every product of an irrep of x with one of y, as `e3nn.o3.FullTensorProduct`; it has no weights.

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
        instructions = [
            (i, j, order[k], "uvuv", False) for k, (_, _, i, j) in enumerate(blocks)
        ]
        options["irrep_normalization"] = irrep_normalization
        super().__init__(in1, in2, out, instructions, **options)


class ElementwiseTensorProduct(TensorProduct):
    """Products of channels of equal position, as `e3nn.o3.ElementwiseTensorProduct`; it has no weights.

    Args:
        irreps_in1: irreps of the first input.
        irreps_in2: irreps of the second input, with as many channels; both are split where the other changes.
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
                f"{where}: irreps_in2: expected {in1.num_irreps} channels as irreps_in1 ({in1}) has, "
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


class TensorSquare(TensorProduct):
    """The product of x with itself, as `e3nn.o3.TensorSquare`.

    Args:
        irreps_in: irreps of the input; equal neighbours are merged.
        irreps_out: irreps of the output, fully connected with weights; None for every product and no weights.
        filter_ir_out: irreps that the output keeps where `irreps_out` is None; None for all.
        irrep_normalization: "component" (default), "norm" or "none".
        **options: other arguments of `TensorProduct`, `layout` included.

    Raises:
        ArgumentError: both `irreps_out` and `filter_ir_out` are given; see `TensorProduct` for others.

    Example:
        >>> TensorSquare("2x1o")
        TensorSquare(2x1o -> 3x0e+1x1e+3x2e | 7 paths | 0 weights)
    """

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any = None,
        filter_ir_out: Iterable[Any] | None = None,
        irrep_normalization: str | None = None,
        **options: Any,
    ) -> None:
        where = type(self).__name__
        irrep_normalization = irrep_normalization or "component"
        check_choice(
            where, "irrep_normalization", ("component", "norm", "none"), irrep_normalization
        )
        irreps = parse_irreps(where, "irreps_in", irreps_in).simplify()
        if irreps_out is None:
            kept = parse_filter(where, filter_ir_out)
            out, instructions = _square_full(irreps, kept, irrep_normalization)
        elif filter_ir_out is None:
            out = parse_irreps(where, "irreps_out", irreps_out).simplify()
            instructions = _square_fully_connected(irreps, out, irrep_normalization)
        else:
            raise ArgumentError(
                f"{where}: filter_ir_out: expected None where irreps_out is given, got {filter_ir_out!r}"
            )
        options["irrep_normalization"] = "none"  # the path weights below hold it
        super().__init__(irreps, irreps, out, instructions, **options)

    @property
    def irreps_in(self) -> Irreps:
        """Irreps of the input."""
        return self.irreps_in1

    def __repr__(self) -> str:
        """e3nn's line: irreps, and the numbers of paths and weights."""
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out.simplify()} "
            f"| {self._num_paths()} paths | {self.weight_numel} weights)"
        )

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, weight: Weight = None
    ) -> torch.Tensor:
        """The square.

        Args:
            x: float32 or float64 [..., irreps_in.dim], in the module's layout.
            weight: see `TensorProduct.forward`.

        Returns:
            [..., irreps_out.dim].
        """
        return super().forward(x, x, weight)


_Block = tuple[int, Irrep, int, int, str, float]
"""(mul_out, ir_out, i_in1, i_in2, mode, path_weight) of one product in a square."""


def _square_full(
    irreps: Irreps, kept: list[Irrep] | None, normalization: str
) -> tuple[Irreps, list[tuple[Any, ...]]]:
    """Output irreps and instructions of a square without weights."""
    blocks: list[_Block] = []
    for i, (mul, ir1) in enumerate(irreps):
        for j, (mul2, ir2) in enumerate(irreps):
            for ir_out in ir1 * ir2:
                if j < i or (kept is not None and ir_out not in kept):
                    continue
                alpha = _pair_weight(ir1, ir2, ir_out, normalization)
                if i < j:
                    blocks.append((mul * mul2, ir_out, i, j, "uvuv", alpha))
                    continue
                if mul > 1:
                    blocks.append((mul * (mul - 1) // 2, ir_out, i, i, "uvu<v", alpha))
                if ir_out.l % 2 == 0:
                    diagonal = _diagonal_weight(ir1, ir_out, normalization)
                    blocks.append((mul, ir_out, i, i, "uuu", diagonal))
    out, order, _ = Irreps([(mul, ir) for mul, ir, *_ in blocks]).sort()
    instructions = [
        (i, j, order[k], mode, False, alpha)
        for k, (_, _, i, j, mode, alpha) in enumerate(blocks)
    ]
    return out, instructions


def _square_fully_connected(
    irreps: Irreps, out: Irreps, normalization: str
) -> list[tuple[Any, ...]]:
    """Instructions of a square with weights."""
    instructions: list[tuple[Any, ...]] = []
    for i, (mul, ir1) in enumerate(irreps):
        for j, (_, ir2) in enumerate(irreps):
            for k, (_, ir_out) in enumerate(out):
                if j < i or ir_out not in ir1 * ir2:
                    continue
                alpha = _pair_weight(ir1, ir2, ir_out, normalization)
                if i < j:
                    instructions.append((i, j, k, "uvw", True, alpha))
                    continue
                if mul > 1:
                    instructions.append((i, i, k, "u<vw", True, alpha))
                if ir_out.l % 2 == 0:
                    diagonal = _diagonal_weight(ir1, ir_out, normalization)
                    instructions.append((i, i, k, "uuw", True, diagonal))
    return instructions


def _pair_weight(ir1: Irrep, ir2: Irrep, ir_out: Irrep, normalization: str) -> float:
    """The path weight of two different channels."""
    factors = {"component": ir_out.dim, "norm": ir1.dim * ir2.dim, "none": 1}
    return float(factors[normalization])


def _diagonal_weight(ir: Irrep, ir_out: Irrep, normalization: str) -> float:
    """The path weight of a channel with itself, whose components are not independent.

    Source:
        e3nn 0.6, o3/_tensor_product/_sub.py, `_square_instructions_full`.
    """
    if ir_out.l == 0:
        factors = {"component": ir_out.dim / (ir.dim + 2), "norm": ir_out.dim * ir.dim, "none": 1}
    else:
        factors = {"component": ir_out.dim / 2, "norm": ir.dim * (ir.dim + 2) / 2, "none": 1}
    return float(factors[normalization])
