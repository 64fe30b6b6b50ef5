"""e3nn's `Linear` on a compiled kernel.

In: e3nn's constructor arguments and a layout. Out: a module with e3nn's state dict, weight order and results. Refused:
what e3nn refuses, with an `ArgumentError` that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from e3nn.o3 import Irreps

from tvm_equi.algebra.contraction import Layout
from tvm_equi.algebra.normalization import linear_coefficients
from tvm_equi.algebra.products import linear_kernel
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.nn.arguments import (
    broadcast_batch,
    check_choice,
    check_operand,
    degrees,
    flatten_rows,
    parse_irreps,
    parse_layout,
    resolve_weight_flags,
)
from tvm_equi.nn.weights import WeightedModule
from tvm_equi.runtime.torch_op import run

if TYPE_CHECKING:
    from typing_extensions import Self

BIAS = -1
"""`i_in` of the instruction that adds a bias."""


class LinearInstruction(NamedTuple):
    """One path of a linear layer, with e3nn's field names.

    Args:
        i_in: index into the irreps of the input, `BIAS` for a bias.
        i_out: index into the irreps of the output.
        path_shape: shape of the weights.
        path_weight: factor of the weights.
    """

    i_in: int
    i_out: int
    path_shape: tuple[int, ...]
    path_weight: float


class Linear(WeightedModule):
    """Equivariant linear layer, as `e3nn.o3.Linear`.

    Args:
        irreps_in: irreps of the input.
        irreps_out: irreps of the output.
        f_in: number of input features, each with its own weights; None for no such dimension.
        f_out: number of output features; given together with `f_in`.
        internal_weights: whether the module owns its weights; by default where they are shared.
        shared_weights: whether all rows have the same weights; True by default.
        instructions: (i_in, i_out) for each path; None for all that symmetry allows.
        biases: for each irrep of the output whether it has a bias; True for all scalars.
        path_normalization: "element" or "path".
        layout: "mul_ir" (e3nn's) or "ir_mul", of input and output.

    Raises:
        ArgumentError: an argument that e3nn would refuse too, or an unknown layout.
        ArgumentTypeError: an argument of a wrong type.

    Example:
        >>> Linear("4x0e + 16x1o", "8x0e + 8x1o", internal_weights=False)
        Linear(4x0e+16x1o -> 8x0e+8x1o | 160 weights)
    """

    instructions: list[LinearInstruction]
    bias: torch.Tensor

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        *,
        f_in: int | None = None,
        f_out: int | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        instructions: Iterable[Sequence[int]] | None = None,
        biases: bool | Sequence[bool] = False,
        path_normalization: str = "element",
        layout: str = "mul_ir",
    ) -> None:
        super().__init__()
        where = type(self).__name__
        check_choice(where, "path_normalization", ("element", "path"), path_normalization)
        first = parse_irreps(where, "irreps_in", irreps_in)
        last = parse_irreps(where, "irreps_out", irreps_out)
        features = _parse_features(where, f_in, f_out)
        pairs = _parse_pairs(where, first, last, instructions)
        coefficients = linear_coefficients(
            degrees(first),
            degrees(last),
            pairs,
            path_normalization="path" if path_normalization == "path" else "element",
        )
        scale = features[0] ** -0.5 if features and features[0] else 1.0
        paths = [
            LinearInstruction(i, k, (first[i].mul, last[k].mul), scale * coefficient)
            for (i, k), coefficient in zip(pairs, coefficients, strict=True)
        ]
        paths += [
            LinearInstruction(BIAS, k, (last[k].dim,), 1.0)
            for k, has_bias in enumerate(_parse_biases(where, last, biases))
            if has_bias
        ]
        flags = resolve_weight_flags(where, internal_weights, shared_weights, default=True)
        self._assemble(first, last, paths, features, flags, parse_layout(where, layout))
        self._register_state(
            torch.randn(self._weight_shape) if self._owns_weights() else None,
            torch.zeros(self._bias_shape) if self._owns_bias() else None,
        )

    def _assemble(
        self,
        irreps_in: Irreps,
        irreps_out: Irreps,
        instructions: list[LinearInstruction],
        features: tuple[int, ...],
        flags: tuple[bool, bool],
        layout: Layout,
    ) -> None:
        """Sets everything but weights, bias and mask; `features` is (f_in, f_out) or ()."""
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.instructions = instructions
        self.internal_weights, self.shared_weights = flags
        self.layout = layout
        paths = [ins for ins in instructions if ins.i_in != BIAS]
        self.weight_numel = sum(prod(ins.path_shape) for ins in paths)
        self.bias_numel = sum(prod(ins.path_shape) for ins in instructions if ins.i_in == BIAS)
        self._features = features
        self._weight_shape = (*features, self.weight_numel)
        self._bias_shape = (*features[1:], self.bias_numel)
        self._in_shape = (*features[:1], irreps_in.dim)
        self._out_shape = (*features[1:], irreps_out.dim)
        self._plan: str | None = None
        if self.weight_numel and prod(features):
            kernel = linear_kernel(
                *_with_features(irreps_in, irreps_out, paths, features or (1, 1)),
                weight_rows="shared" if self.shared_weights else "row",
                layout=layout,
            )
            self._plan = kernel.plan()

    def _register_state(
        self, weight: torch.Tensor | None, bias: torch.Tensor | None = None
    ) -> None:
        super()._register_state(weight)
        if bias is None:
            self.register_buffer("bias", torch.Tensor())
        else:
            self.bias = torch.nn.Parameter(bias)

    @classmethod
    def from_e3nn(cls, module: Any, layout: str = "mul_ir") -> Self:
        """A module that computes what an `e3nn.o3.Linear` does, with copies of its weights and bias.

        Args:
            module: an `e3nn.o3.Linear`.
            layout: of the new module's input and output.

        Raises:
            ArgumentError: the module has feature dimensions but no weights of its own, so that they are not known.
        """
        linear = cls.__new__(cls)
        torch.nn.Module.__init__(linear)
        linear._assemble(
            Irreps(module.irreps_in),
            Irreps(module.irreps_out),
            [LinearInstruction(*ins) for ins in _by_name(module.instructions)],
            _features_of(module),
            (module.internal_weights, module.shared_weights),
            parse_layout(cls.__name__, layout),
        )
        linear._copy_state(module)
        return linear
