"""The operation of many-body features: every symmetric polynomial of a value, with weights.

In: types. Out: a type. Refused: irreps of several multiplicities, and weights that do not fit the
basis of `algebra.symmetric`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tvm_equi.algebra.contraction import Layout
from tvm_equi.algebra.symmetric import MAX_CORRELATION, Ir, Polynomial
from tvm_equi.algebra.symmetric_kernel import polynomials
from tvm_equi.errors import GraphError
from tvm_equi.graph.operations.checks import (
    expect_count,
    expect_irreps,
    expect_layout,
    expect_rows,
    expect_same_dtype,
    expect_scalars,
    expect_value,
)
from tvm_equi.graph.types import IrrepsText as Irreps
from tvm_equi.graph.types import Type, ValueType, parse_irreps


@dataclass(frozen=True, slots=True)
class SymmetricContraction:
    """All equivariant polynomials of x up to a degree, channel by channel, with weights.

    Args:
        irreps_in: of x, of one multiplicity.
        irreps_out: of the output, of the same multiplicity.
        correlation: the highest degree, 1 to 4.
        weights: "row" for one set of weights per row, "shared" for one in all.
        layout: of x and the output.
    """

    irreps_in: Irreps
    irreps_out: Irreps
    correlation: int
    weights: Literal["row", "shared"] = "shared"
    layout: Layout = "mul_ir"

    @property
    def mul(self) -> int:
        """Channels of every irrep.

        Raises:
            GraphError: irreps have several multiplicities.
        """
        found = {
            irrep.mul for text in (self.irreps_in, self.irreps_out) for irrep in parse_irreps(text)
        }
        if len(found) != 1:
            raise GraphError(
                "irreps_in, irreps_out: expected irreps of one multiplicity, "
                f"got {self.irreps_in} and {self.irreps_out}"
            )
        return found.pop()

    def irs(self, irreps: str) -> tuple[Ir, ...]:
        """(degree, parity) of irreps."""
        return tuple((irrep.degree, irrep.parity) for irrep in parse_irreps(irreps))

    def polynomials(self) -> tuple[tuple[int, Polynomial], ...]:
        """(output, polynomial) in the order of weights, which are `mul` for each.

        Raises:
            GraphError: a correlation that is not from 1 to 4.
        """
        if not 1 <= self.correlation <= MAX_CORRELATION:
            raise GraphError(
                f"correlation: expected 1 to {MAX_CORRELATION}, got {self.correlation}"
            )
        return polynomials(self.irs(self.irreps_in), self.irs(self.irreps_out), self.correlation)

    def num_weights(self) -> int:
        """The number of weights of a set."""
        return self.mul * len(self.polynomials())

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The contraction's type.

        Raises:
            GraphError: x is shared by all rows.
        """
        names = ("x", "w")
        num_weights = self.num_weights()
        expect_count(inputs, names)
        x, w = (expect_value(name, value) for name, value in zip(names, inputs, strict=True))
        expect_irreps("x", x, self.irreps_in)
        expect_layout("x", x, self.layout)
        if x.rows == "shared":
            raise GraphError("x: expected a value with rows, got a shared one")
        expect_rows("w", w, "shared" if self.weights == "shared" else x.rows)
        expect_scalars("w", w, num_weights)
        expect_same_dtype(names, (x, w))
        return ValueType(self.irreps_out, x.rows, self.layout, x.dtype)
