"""e3nn's `TensorSquare`: a tensor product of x with itself.

In: irreps of the input and, for a fully connected square, of the output. Out: a `TensorProduct`
over pairs of channels, each once, with the instructions, path weights and order of irreps that e3nn
gives them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from e3nn.o3 import Irrep, Irreps

from tvm_equi.errors import ArgumentError
from tvm_equi.nn.arguments import parse_choice, parse_filter, parse_irreps
from tvm_equi.nn.tensor_product import IRREP_NORMALIZATIONS, TensorProduct, Weight


class TensorSquare(TensorProduct):
    """The product of x with itself, as `e3nn.o3.TensorSquare`.

    Args:
        irreps_in: irreps of the input; equal neighbours are merged.
        irreps_out: irreps of the output, fully connected with weights; None for every product and
            no weights.
        filter_ir_out: irreps that the output keeps where `irreps_out` is None; None for all.
        irrep_normalization: "component" (default), "norm" or "none".
        **options: other arguments of `TensorProduct`, `layout` included.

    Raises:
        ArgumentError: both `irreps_out` and `filter_ir_out` are given; see `TensorProduct` for
            others.

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
        normalization = parse_choice(
            where, "irrep_normalization", IRREP_NORMALIZATIONS, irrep_normalization or "component"
        )
        irreps = parse_irreps(where, "irreps_in", irreps_in).simplify()
        if irreps_out is None:
            kept = parse_filter(where, filter_ir_out)
            out, instructions = _square_full(irreps, kept, normalization)
        elif filter_ir_out is None:
            out = parse_irreps(where, "irreps_out", irreps_out).simplify()
            instructions = _square_fully_connected(irreps, out, normalization)
        else:
            raise ArgumentError(
                f"{where}: filter_ir_out: expected None where irreps_out is given, "
                f"got {filter_ir_out!r}"
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
        (i, j, order[k], mode, False, alpha) for k, (_, _, i, j, mode, alpha) in enumerate(blocks)
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
