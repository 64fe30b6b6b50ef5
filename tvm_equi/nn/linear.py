"""e3nn's `Linear` on a compiled kernel.

In: e3nn's constructor arguments and a layout. Out: a module with e3nn's state dict, weight order
and results. Refused: what e3nn refuses, with an `ArgumentError` that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch
from e3nn.o3 import Irreps

from tvm_equi.algebra.contraction import Layout
from tvm_equi.algebra.normalization import linear_coefficients
from tvm_equi.algebra.products import linear_kernel
from tvm_equi.errors import ArgumentError, UnsupportedError
from tvm_equi.nn.arguments import (
    broadcast_batch,
    check_operand,
    degrees,
    flatten_rows,
    parse_choice,
    parse_features,
    parse_irreps,
    parse_layout,
    resolve_weight_flags,
)
from tvm_equi.nn.instructions import BIAS, LinearInstruction, parse_biases, parse_pairs
from tvm_equi.nn.weights import WeightedModule
from tvm_equi.runtime.torch_op import run

if TYPE_CHECKING:
    from typing_extensions import Self


PATH_NORMALIZATIONS: tuple[Literal["element", "path"], ...] = ("element", "path")


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
        first = parse_irreps(where, "irreps_in", irreps_in)
        last = parse_irreps(where, "irreps_out", irreps_out)
        features = parse_features(where, f_in, f_out)
        pairs = parse_pairs(where, first, last, instructions)
        coefficients = linear_coefficients(
            degrees(first),
            degrees(last),
            pairs,
            path_normalization=parse_choice(
                where, "path_normalization", PATH_NORMALIZATIONS, path_normalization
            ),
        )
        scale = features[0] ** -0.5 if features and features[0] else 1.0
        paths = [
            LinearInstruction(i, k, (first[i].mul, last[k].mul), scale * coefficient)
            for (i, k), coefficient in zip(pairs, coefficients, strict=True)
        ]
        paths += [
            LinearInstruction(BIAS, k, (last[k].dim,), 1.0)
            for k, has_bias in enumerate(parse_biases(where, last, biases))
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
        feature_dims: tuple[int, ...],
        flags: tuple[bool, bool],
        layout: Layout,
    ) -> None:
        """Sets everything but weights, bias and mask; `feature_dims` is (f_in, f_out) or ()."""
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.instructions = instructions
        self.internal_weights, self.shared_weights = flags
        self.layout = layout
        paths = [ins for ins in instructions if ins.i_in != BIAS]
        self.weight_numel = sum(prod(ins.path_shape) for ins in paths)
        self.bias_numel = sum(prod(ins.path_shape) for ins in instructions if ins.i_in == BIAS)
        self.feature_dims = feature_dims
        self._weight_shape = (*feature_dims, self.weight_numel)
        self._bias_shape = (*feature_dims[1:], self.bias_numel)
        self._in_shape = (*feature_dims[:1], irreps_in.dim)
        self._out_shape = (*feature_dims[1:], irreps_out.dim)
        biased = {ins.i_out for ins in instructions if ins.i_in == BIAS}
        self._bias_blocks = tuple((mul_ir.dim, k in biased) for k, mul_ir in enumerate(irreps_out))
        self._plan: str | None = None
        if self.weight_numel and prod(feature_dims):
            kernel = linear_kernel(
                *_with_features(irreps_in, irreps_out, paths, feature_dims or (1, 1)),
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
        """A module that computes what an `e3nn.o3.Linear` does, with copies of its weights.

        Args:
            module: an `e3nn.o3.Linear`.
            layout: of the new module's input and output.

        Raises:
            UnsupportedError: the module has f_in and no weights of its own, so that f_out is not
                known.
        """
        linear = cls.__new__(cls)
        torch.nn.Module.__init__(linear)
        linear._assemble(
            Irreps(module.irreps_in),
            Irreps(module.irreps_out),
            [LinearInstruction(*ins) for ins in module.instructions],
            _features_of(module),
            (module.internal_weights, module.shared_weights),
            parse_layout(cls.__name__, layout),
        )
        linear._copy_state(module)
        return linear

    def _has_weight(self, instruction: Any) -> bool:
        return bool(instruction.i_in != BIAS)

    def _owns_bias(self) -> bool:
        return self.internal_weights and self.bias_numel > 0

    def _copy_state(self, module: Any) -> None:
        super()._copy_state(module)
        if self._owns_bias():
            self.bias = torch.nn.Parameter(
                module.bias.detach().clone(), requires_grad=module.bias.requires_grad
            )

    def __repr__(self) -> str:
        """e3nn's line: irreps and the number of weights."""
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} "
            f"| {self.weight_numel} weights)"
        )

    def forward(
        self,
        features: torch.Tensor,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The layer's output; leading dimensions broadcast.

        Args:
            features: float32 or float64 [..., irreps_in.dim], in the module's layout; [..., f_in,
                irreps_in.dim] where `f_in` was given.
            weight: [weight_numel] where weights are shared, else [..., weight_numel]; [f_in, f_out]
                comes before weight_numel where they were given.
            bias: [bias_numel], likewise, with [f_out].

        Returns:
            [..., irreps_out.dim], or [..., f_out, irreps_out.dim].

        Raises:
            ArgumentError: a wrong shape or device, or weights that are missing or given twice.
            ArgumentTypeError: a wrong dtype.
        """
        where = type(self).__name__
        check_operand(where, "features", features, self._in_shape[-1], features)
        num_leading = features.dim() - len(self._in_shape)
        if num_leading < 0 or features.shape[num_leading:] != self._in_shape:
            wanted = ", ".join(str(size) for size in self._in_shape)
            raise ArgumentError(
                f"{where}: features: expected shape [..., {wanted}], got {list(features.shape)}"
            )
        batch: Sequence[int] = features.shape[:num_leading]
        named = [("features", batch)]
        if self.weight_numel or weight is not None:
            weight = self._resolve_weight("weight", weight, self._weight_shape, features)
            named.append(("weight", weight.shape[: weight.dim() - len(self._weight_shape)]))
        if self.bias_numel or bias is not None:
            bias = self._resolve_weight("bias", bias, self._bias_shape, features)
            named.append(("bias", bias.shape[: bias.dim() - len(self._bias_shape)]))
        if any(lead and lead != batch for _, lead in named):
            batch = broadcast_batch(where, named)
        out = self._product(features, weight, batch)
        return out if bias is None or not self.bias_numel else out + self._padded(bias)

    def _product(
        self, features: torch.Tensor, weight: torch.Tensor | None, batch: Sequence[int]
    ) -> torch.Tensor:
        """The output without bias."""
        if self._plan is None or weight is None:
            return features.new_zeros((*batch, *self._out_shape))
        if self.feature_dims:
            features = features.flatten(-2)
            weight = weight.flatten(-3)
        rows = flatten_rows(features, batch)
        out = run(
            self._plan, [rows, weight if self.shared_weights else flatten_rows(weight, batch)]
        )[0]
        if len(batch) == 1 and not self.feature_dims:
            return out
        return out.reshape((*batch, *self._out_shape))

    def _padded(self, bias: torch.Tensor) -> torch.Tensor:
        """The bias with zeros where the output has none; scalars are the same in both layouts."""
        blocks, offset = [], 0
        for dim, is_biased in self._bias_blocks:
            if is_biased:
                blocks.append(bias.narrow(-1, offset, dim))
                offset += dim
            else:
                blocks.append(bias.new_zeros((*bias.shape[:-1], dim)))
        return torch.cat(blocks, dim=-1)


def _with_features(
    irreps_in: Irreps,
    irreps_out: Irreps,
    paths: list[LinearInstruction],
    feature_dims: tuple[int, ...],
) -> tuple[Any, Any, tuple[tuple[int, int, float], ...]]:
    """Irreps and paths of the kernel, in which features are copies of the irreps in a row."""
    f_in, f_out = feature_dims
    instructions = tuple(
        (ins.i_in + x * len(irreps_in), ins.i_out + y * len(irreps_out), ins.path_weight)
        for x in range(f_in)
        for y in range(f_out)
        for ins in paths
    )
    return degrees(irreps_in) * f_in, degrees(irreps_out) * f_out, instructions


def _features_of(module: Any) -> tuple[int, ...]:
    """(f_in, f_out) of an e3nn module, which keeps them only in the shape of its weights."""
    if module.weight.dim() == 3:
        return tuple(module.weight.shape[:2])
    paths = [ins for ins in module.instructions if ins.i_in != BIAS]
    first, last = degrees(module.irreps_in), degrees(module.irreps_out)
    pairs = [(ins.i_in, ins.i_out) for ins in paths]
    for normalization in PATH_NORMALIZATIONS:
        known = linear_coefficients(first, last, pairs, path_normalization=normalization)
        if all(abs(c - ins.path_weight) <= 1e-9 * c for c, ins in zip(known, paths, strict=True)):
            return ()
    raise UnsupportedError(
        f"Linear.from_e3nn: module: expected one without f_in, or with its own weights, "
        f"got {module}"
    )
