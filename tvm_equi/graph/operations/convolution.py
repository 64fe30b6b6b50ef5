"""The graph convolution: gather, tensor product and scatter-sum as one operation.

In: types. Out: types, by the rules of the operations that it stands for. Refused: what these
refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations.checks import (
    expect_count,
    expect_index,
    expect_rows,
    expect_same_dtype,
    expect_scalars,
    expect_value,
)
from tvm_equi.graph.operations.products import SphericalHarmonics, TensorProduct
from tvm_equi.graph.operations.rows import Gather, ScatterSum
from tvm_equi.graph.types import IrrepsText as Irreps
from tvm_equi.graph.types import Type, ValueType

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RadialLayer:
    """The last layer of a perceptron: w = h @ last / sqrt(num_hidden).

    Args:
        num_hidden: rows of the matrix.
        num_weights: columns of the matrix, in one row-major block.
        columns: (start, end) ranges of the columns that are computed; empty for all.

    Raises:
        GraphError: no rows, or columns out of range.
    """

    num_hidden: int
    num_weights: int
    columns: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuses sizes and columns that are none."""
        if self.num_hidden < 1:
            raise GraphError(f"num_hidden: expected at least 1, got {self.num_hidden}")
        for start, end in self.columns:
            if not 0 <= start < end <= self.num_weights:
                raise GraphError(
                    f"columns: expected ranges within 0 .. {self.num_weights}, got {start}, {end}"
                )

    @property
    def num_columns(self) -> int:
        """Columns that are computed."""
        return sum(end - start for start, end in self.columns) if self.columns else self.num_weights


@dataclass(frozen=True, slots=True)
class Convolution:
    """The sum over each receiver's edges of products with what the senders have.

        out[i] = factor * sum over edges e = (j -> i) of product(x[j], y[e], w[e])

    Args:
        product: of the rows of one edge.
        factor: of the sum.
        radial: where given, w is computed inside, from inputs h (per edge) and last (shared).
        harmonics: where given, y is computed inside, from vectors per edge.
    """

    product: TensorProduct
    factor: float = 1.0
    radial: RadialLayer | None = None
    harmonics: SphericalHarmonics | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the inputs are, in order: x, y or vectors, w or h and last, senders, receivers."""
        weights: tuple[str, ...] = ("h", "last")
        if self.radial is None:
            weights = () if self.product.weights == "none" else ("w",)
        y = "y" if self.harmonics is None else "vectors"
        return ("x", y, *weights, "senders", "receivers")

    def by_name(self, inputs: Sequence[T]) -> Mapping[str, T]:
        """The inputs, or facts about them, by their names.

        Args:
            inputs: as many as `names`.
        """
        return dict(zip(self.names, inputs, strict=True))

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The product's type, on the receivers."""
        expect_count(inputs, self.names)
        given = self.by_name(inputs)
        senders = expect_index("senders", given["senders"])
        receivers = expect_index("receivers", given["receivers"])
        expect_rows("receivers", receivers, senders.rows)
        operands: list[Type] = [Gather().infer([given["x"], senders])]
        if self.harmonics is None:
            operands.append(given["y"])
        else:
            operands.append(self.harmonics.infer([given["vectors"]]))
        if self.radial is not None:
            operands.append(self._infer_weights(self.radial, given))
        elif "w" in given:
            operands.append(given["w"])
        return ScatterSum(self.factor).infer([self.product.infer(operands), receivers])

    def _infer_weights(self, radial: RadialLayer, given: Mapping[str, Type]) -> ValueType:
        """The type of the weights that are computed inside.

        Raises:
            GraphError: the product's weights are shared, or it has none.
        """
        if self.product.weights != "row":
            raise GraphError(
                f"radial: expected a product with weights per row, got {self.product.weights!r}"
            )
        h, last = expect_value("h", given["h"]), expect_value("last", given["last"])
        expect_scalars("h", h, radial.num_hidden)
        expect_rows("last", last, "shared")
        expect_scalars("last", last, radial.num_hidden * radial.num_weights)
        expect_same_dtype(("h", "last"), (h, last))
        return ValueType(Irreps(f"{radial.num_columns}x0e"), h.rows, dtype=h.dtype)
