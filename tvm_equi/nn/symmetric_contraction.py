"""Symmetric contractions on a compiled kernel: many-body features of ACE and MACE.

In: irreps with one number of channels, a correlation and a number of elements. Out: a module whose
weights are over an exact basis of symmetric polynomials (`algebra.symmetric`), so that it has no
more weights than there are functions, and matrices that convert weights over MACE's bases. Refused:
irreps of several multiplicities.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from e3nn.o3 import Irreps

from tvm_equi.algebra.symmetric import MAX_CORRELATION, basis, projection
from tvm_equi.algebra.symmetric_kernel import polynomials, symmetric_kernel
from tvm_equi.errors import ArgumentError, ArgumentTypeError, IndexRangeError
from tvm_equi.nn.arguments import check_operand, parse_irreps, parse_layout
from tvm_equi.runtime.torch_op import is_plain, run


class SymmetricContraction(torch.nn.Module):
    """All equivariant polynomials of x up to a degree, channel by channel, with weights.

        out[n, u] = sum_p weight[element[n], p, u] B_p(x[n, u])

    Args:
        irreps_in: irreps of x, all of one multiplicity.
        irreps_out: irreps of the output, all of the same multiplicity.
        correlation: highest degree of the polynomials, 1 to 4.
        num_elements: sets of weights.
        internal_weights: whether the module owns its weights.
        layout: "mul_ir" (e3nn's) or "ir_mul", of x and the output.

    Raises:
        ArgumentError: irreps of several multiplicities, or an unknown correlation or layout.
        ArgumentTypeError: irreps, or numbers, of a wrong type.

    Source:
        Batatia et al., MACE, NeurIPS 2022, eq. 10; the basis: `tvm_equi.algebra.symmetric`.

    Example:
        >>> SymmetricContraction("8x0e + 8x1o + 8x2e", "8x0e + 8x1o", 3, num_elements=2)
        SymmetricContraction(8x0e+8x1o+8x2e -> 8x0e+8x1o | correlation 3, 2 x 17 x 8 weights)
    """

    weight: torch.Tensor

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        correlation: int,
        num_elements: int = 1,
        *,
        internal_weights: bool = True,
        layout: str = "mul_ir",
    ) -> None:
        super().__init__()
        where = type(self).__name__
        self.irreps_in = parse_irreps(where, "irreps_in", irreps_in)
        self.irreps_out = parse_irreps(where, "irreps_out", irreps_out)
        for argument, number in (("correlation", correlation), ("num_elements", num_elements)):
            if not isinstance(number, int):
                raise ArgumentTypeError(f"{where}: {argument}: expected an integer, got {number!r}")
        if not 1 <= correlation <= MAX_CORRELATION:
            raise ArgumentError(
                f"{where}: correlation: expected 1 to {MAX_CORRELATION}, got {correlation}"
            )
        if num_elements < 1:
            raise ArgumentError(f"{where}: num_elements: expected 1 or more, got {num_elements}")
        self.num_channels = _common_multiplicity(where, self.irreps_in, self.irreps_out)
        self.correlation, self.num_elements = correlation, num_elements
        self.layout = parse_layout(where, layout)
        self._columns = (int(self.irreps_in.dim), int(self.irreps_out.dim))
        self.internal_weights = internal_weights
        self.polynomials = polynomials(_irs(self.irreps_in), _irs(self.irreps_out), correlation)
        kernel = symmetric_kernel(
            _irs(self.irreps_in),
            _irs(self.irreps_out),
            correlation,
            self.num_channels,
            layout=self.layout,
        )
        self._plan = kernel.plan()
        self.weight_shape = (num_elements, len(self.polynomials), self.num_channels)
        if internal_weights:
            scale = max(1, len(self.polynomials)) ** -0.5
            self.weight = torch.nn.Parameter(scale * torch.randn(self.weight_shape))
        else:
            self.register_buffer("weight", torch.Tensor())

    def __repr__(self) -> str:
        """Irreps, correlation and the shape of the weights."""
        weights = " x ".join(str(size) for size in self.weight_shape)
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} "
            f"| correlation {self.correlation}, {weights} weights)"
        )

    def forward(
        self,
        x: torch.Tensor,
        element: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The contraction.

        Args:
            x: float32 or float64 [rows, irreps_in.dim], in the module's layout.
            element: int64 [rows], which set of weights each row has; may be left out where there is
                one set.
            weight: [num_elements, num_polynomials, num_channels], where the module has none.

        Returns:
            [rows, irreps_out.dim].

        Raises:
            ArgumentError: a wrong shape or device, or weights or elements that are missing, or
                given twice.
            ArgumentTypeError: a wrong dtype.
            IndexRangeError: an element that has no weights.
        """
        where = type(self).__name__
        if self.internal_weights == (weight is not None):
            has = "none, as the module has its own" if self.internal_weights else "weights"
            raise ArgumentError(f"{where}: weight: expected {has}, got {_kind(weight)}")
        weight = self.weight if weight is None else weight
        if weight.shape != self.weight_shape:
            raise ArgumentError(
                f"{where}: weight: expected shape {list(self.weight_shape)}, "
                f"got {list(weight.shape)}"
            )
        return self.contract(x, self._rows(where, x, element, weight.flatten(1)))

    def contract(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The contraction with weights of each row.

        Args:
            x: [rows, irreps_in.dim].
            weights: [rows, num_polynomials * num_channels].

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong dtype.
        """
        where = type(self).__name__
        check_operand(where, "x", x, self._columns[0], x)
        check_operand(where, "weights", weights, self.weight_shape[1] * self.weight_shape[2], x)
        if x.dim() != 2 or weights.shape[:-1] != x.shape[:-1]:
            raise ArgumentError(
                f"{where}: x, weights: expected [rows, columns] with as many rows, "
                f"got {list(x.shape)} and {list(weights.shape)}"
            )
        if not self.weight_shape[1] * self.weight_shape[2]:
            return x.new_zeros((x.shape[0], self._columns[1]))
        return run(self._plan, [x, x.new_ones(1), weights])[0]

    def _rows(
        self, where: str, x: torch.Tensor, element: torch.Tensor | None, weight: torch.Tensor
    ) -> torch.Tensor:
        """The weights of each row.

        Raises:
            ArgumentError: elements are missing, or of a wrong shape.
            ArgumentTypeError: elements that are no integers.
            IndexRangeError: an element that has no weights.
        """
        if element is None:
            if self.num_elements > 1:
                raise ArgumentError(f"{where}: element: expected int64 [rows], got None")
            return weight.expand(x.shape[0], -1)
        if element.dtype not in (torch.int64, torch.int32):
            raise ArgumentTypeError(f"{where}: element: expected int64, got {element.dtype}")
        if element.shape != x.shape[:1]:
            raise ArgumentError(
                f"{where}: element: expected shape {[x.shape[0]]}, got {list(element.shape)}"
            )
        if not torch.compiler.is_compiling() and is_plain([element]) and _is_on_cpu(element):
            low, high = int(element.min()), int(element.max())
            if low < 0 or high >= self.num_elements:
                raise IndexRangeError(
                    f"{where}: element: expected 0 to {self.num_elements - 1}, "
                    f"got {low if low < 0 else high}"
                )
        return weight.index_select(0, element)

    def num_polynomials(self, output: int, degree: int) -> int:
        """The number of polynomials of one degree for one irrep of the output.

        Args:
            output: number of the irrep.
            degree: of the polynomials.
        """
        return len(basis(_irs(self.irreps_in), _irs(self.irreps_out)[output], degree))

    def projection(self, output: int, degree: int, tensors: torch.Tensor) -> torch.Tensor:
        """The matrix that converts weights over other polynomials of one degree.

        The weights of an output are those of degree 1, then of degree 2, and so on, each as many as
        `num_polynomials` says; outputs follow one another.

        Args:
            output: number of the irrep of the output.
            degree: of the polynomials.
            tensors: [2l + 1, dim, ..., dim, n], where axes of size 1 may be left out: the
                coefficients of n polynomials, such as MACE's generalised Clebsch-Gordan tensors;
                dim is the number of components of one channel of x, and has `degree` axes.

        Returns:
            float64 [polynomials, n]: new weights = matrix @ old weights, for each channel.

        Raises:
            ArgumentError: the shape does not fit, or they are no equivariant polynomials.
        """
        array = tensors.detach().to("cpu", torch.float64).numpy()
        out = _irs(self.irreps_out)[output]
        dim = self._columns[0] // max(1, self.num_channels)
        shape = (2 * out[0] + 1, *[dim] * degree)
        if array.ndim and array.size == prod(shape) * array.shape[-1]:
            array = array.reshape(*shape, array.shape[-1])
        return torch.from_numpy(projection(_irs(self.irreps_in), out, degree, array))


def _irs(irreps: Irreps) -> tuple[tuple[int, int], ...]:
    """(degree, parity) of each irrep."""
    return tuple((ir.l, ir.p) for _, ir in irreps)


def _is_on_cpu(element: torch.Tensor) -> bool:
    """Whether values can be looked at without waiting for a GPU, and there are some."""
    return element.device.type == "cpu" and element.numel() > 0


def _kind(weight: torch.Tensor | None) -> str:
    return "none" if weight is None else "some"


def _common_multiplicity(where: str, first: Irreps, second: Irreps) -> int:
    """The multiplicity of all irreps.

    Raises:
        ArgumentError: there are several, or none.
    """
    found = {mul for mul, _ in (*first, *second)}
    if len(found) != 1:
        raise ArgumentError(
            f"{where}: irreps_in, irreps_out: expected irreps of one multiplicity, "
            f"got {first} and {second}"
        )
    return int(found.pop())


def convert_weights(
    projections: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Weights over the basis, from weights over other polynomials.

    Args:
        projections: matrices, one for each output and degree, in the order of the new weights.
        weights: [elements, n, channels], one for each matrix.

    Returns:
        [elements, num_polynomials, channels]; differentiable in `weights`.
    """
    parts = [
        torch.einsum("pk,zku->zpu", matrix.to(old.dtype), old)
        for matrix, old in zip(projections, weights, strict=True)
    ]
    return torch.cat(parts, dim=1)
