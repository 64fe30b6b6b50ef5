"""e3nn's `TensorProduct` on a compiled kernel.

In: e3nn's constructor arguments and a layout. Out: a module with e3nn's state dict, weight order
and results, whose derivatives of any order are compiled kernels too. Refused: `compile_right`, and
what e3nn refuses, with an `ArgumentError` that says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from e3nn.o3 import Irreps

from tvm_equi.algebra.contraction import Layout
from tvm_equi.algebra.normalization import (
    IrrepNormalization,
    PathNormalization,
    tensor_product_coefficients,
)
from tvm_equi.algebra.products import Instruction as KernelInstruction
from tvm_equi.algebra.products import tensor_product_kernel
from tvm_equi.errors import ArgumentError, UnsupportedError
from tvm_equi.frontend.signs import signed_weight
from tvm_equi.nn.arguments import (
    broadcast_batch,
    check_operand,
    degrees,
    flatten_rows,
    parse_choice,
    parse_irreps,
    parse_layout,
    parse_variances,
    resolve_weight_flags,
)
from tvm_equi.nn.instructions import Instruction, parse_instructions
from tvm_equi.nn.weights import WeightedModule
from tvm_equi.runtime.torch_op import run

if TYPE_CHECKING:
    from typing_extensions import Self

Weight = torch.Tensor | Sequence[torch.Tensor] | None
"""What `forward` takes as weights: one tensor, or one for each weighted instruction."""


IRREP_NORMALIZATIONS: tuple[IrrepNormalization, ...] = ("component", "norm", "none")
PATH_NORMALIZATIONS: tuple[PathNormalization, ...] = ("element", "path", "none")


class TensorProduct(WeightedModule):
    """Tensor product with parametrised paths, as `e3nn.o3.TensorProduct`.

    Args:
        irreps_in1: irreps of the first input.
        irreps_in2: irreps of the second input.
        irreps_out: irreps of the output.
        instructions: (i_in1, i_in2, i_out, mode, has_weight[, path_weight]) for each path.
        in1_var: variance of each irrep of the first input; None for all 1.
        in2_var: the same for the second input.
        out_var: wanted variance of each irrep of the output; None for all 1.
        irrep_normalization: "component" (default), "norm" or "none".
        path_normalization: "element" (default), "path" or "none".
        internal_weights: whether the module owns its weights; by default where they are shared and
            there are some.
        shared_weights: whether all rows have the same weights; True by default.
        compile_left_right: False for a module that is never called.
        compile_right: True is refused.
        normalization: deprecated name of `irrep_normalization`.
        layout: "mul_ir" (e3nn's) or "ir_mul": of each irrep of x, y and the output, the channels of
            a component lie side by side. Weights are the same in both.

    Raises:
        ArgumentError: an argument that e3nn would refuse too, or an unknown layout.
        ArgumentTypeError: an argument of a wrong type.
        UnsupportedError: `compile_right`.

    Example:
        >>> TensorProduct("16x1o", "16x1o", "16x1e", [(0, 0, 0, "uuu", False)])
        TensorProduct(16x1o x 16x1o -> 16x1e | 16 paths | 0 weights)
    """

    instructions: list[Instruction]
    _over_edges = False

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        instructions: Iterable[Sequence[Any]],
        in1_var: Any = None,
        in2_var: Any = None,
        out_var: Any = None,
        irrep_normalization: str | None = None,
        path_normalization: str | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        compile_left_right: bool = True,
        compile_right: bool = False,
        normalization: str | None = None,
        *,
        layout: str = "mul_ir",
    ) -> None:
        super().__init__()
        where = type(self).__name__
        if normalization is not None:
            warnings.warn(
                "`normalization` is deprecated. Use `irrep_normalization` instead.",
                DeprecationWarning,
                stacklevel=2,
            )
            irrep_normalization = normalization
        if compile_right:
            raise UnsupportedError(
                f"{where}: compile_right: expected False, got True; "
                "call the module on the rows of the identity"
            )
        in1 = parse_irreps(where, "irreps_in1", irreps_in1)
        in2 = parse_irreps(where, "irreps_in2", irreps_in2)
        out = parse_irreps(where, "irreps_out", irreps_out)
        parsed = parse_instructions(where, in1, in2, out, instructions)
        coefficients = tensor_product_coefficients(
            degrees(in1),
            degrees(in2),
            degrees(out),
            [ins[:6] for ins in parsed],
            in1_var=parse_variances(where, "in1_var", in1_var, in1),
            in2_var=parse_variances(where, "in2_var", in2_var, in2),
            out_var=parse_variances(where, "out_var", out_var, out),
            irrep_normalization=parse_choice(
                where,
                "irrep_normalization",
                IRREP_NORMALIZATIONS,
                irrep_normalization or "component",
            ),
            path_normalization=parse_choice(
                where, "path_normalization", PATH_NORMALIZATIONS, path_normalization or "element"
            ),
        )
        final = [ins._replace(path_weight=c) for ins, c in zip(parsed, coefficients, strict=True)]
        flags = resolve_weight_flags(
            where, internal_weights, shared_weights, default=any(ins.has_weight for ins in final)
        )
        self._assemble(in1, in2, out, final, flags, parse_layout(where, layout))
        self._is_callable = compile_left_right
        self._register_state(torch.randn(self.weight_numel) if self._owns_weights() else None)

    def _assemble(
        self,
        in1: Irreps,
        in2: Irreps,
        out: Irreps,
        instructions: list[Instruction],
        flags: tuple[bool, bool],
        layout: Layout,
    ) -> None:
        """Sets everything but weights and mask; the instructions' path weights are final."""
        self.irreps_in1, self.irreps_in2, self.irreps_out = in1, in2, out
        self.instructions = instructions
        self.internal_weights, self.shared_weights = flags
        self.layout = layout
        self.weight_numel = sum(prod(ins.path_shape) for ins in instructions if ins.has_weight)
        self._in1_dim, self._in2_dim, self._out_dim = in1.dim, in2.dim, out.dim
        self._is_callable = True
        self._plan: str | None = None
        if any(0 not in ins.path_shape for ins in instructions):
            rows = "shared" if self.shared_weights else "row"
            kernel = tensor_product_kernel(
                degrees(in1),
                degrees(in2),
                degrees(out),
                tuple(
                    KernelInstruction(*ins[:5], signed_weight(ins, in1, in2, out))
                    for ins in instructions
                ),
                weight_rows=rows if self.weight_numel else "none",
                layout=layout,
                over_edges=self._over_edges,
            )
            self._plan = kernel.plan()

    @classmethod
    def from_e3nn(cls, module: Any, layout: str = "mul_ir") -> Self:
        """A module that computes what an `e3nn.o3.TensorProduct` does, with a copy of its weights.

        Args:
            module: of the e3nn class of the same name.
            layout: of the new module's operands.
        """
        product = cls.__new__(cls)
        torch.nn.Module.__init__(product)
        product._assemble(
            Irreps(module.irreps_in1),
            Irreps(module.irreps_in2),
            Irreps(module.irreps_out),
            [Instruction(*ins) for ins in module.instructions],
            (module.internal_weights, module.shared_weights),
            parse_layout(cls.__name__, layout),
        )
        product._copy_state(module)
        return product

    def _has_weight(self, instruction: Any) -> bool:
        return bool(instruction.has_weight)

    def _is_active(self, instruction: Any) -> bool:
        return instruction.path_weight != 0 and 0 not in instruction.path_shape

    def __repr__(self) -> str:
        """e3nn's line: irreps, and the numbers of paths and weights."""
        return (
            f"{type(self).__name__}({self.irreps_in1.simplify()} x {self.irreps_in2.simplify()} "
            f"-> {self.irreps_out.simplify()} "
            f"| {self._num_paths()} paths | {self.weight_numel} weights)"
        )

    def _num_paths(self) -> int:
        return sum(prod(ins.path_shape) for ins in self.instructions)

    def forward(self, x: torch.Tensor, y: torch.Tensor, weight: Weight = None) -> torch.Tensor:
        """The product; leading dimensions broadcast.

        Args:
            x: float32 or float64 [..., irreps_in1.dim], in the module's layout.
            y: [..., irreps_in2.dim].
            weight: [weight_numel] where weights are shared, else [..., weight_numel]; or a list
                with one tensor [..., *path_shape] for each weighted instruction.

        Returns:
            [..., irreps_out.dim].

        Raises:
            ArgumentError: a wrong shape or device, or weights that are missing or given twice.
            ArgumentTypeError: a wrong dtype.
            UnsupportedError: the module was constructed with compile_left_right=False.
        """
        where = type(self).__name__
        check_operand(where, "x", x, self._in1_dim, x)
        check_operand(where, "y", y, self._in2_dim, x)
        if not self._is_callable:
            raise UnsupportedError(
                f"{where}: compile_left_right: expected True for a module that is called, got False"
            )
        rows, shared, names = [x, y], [], ["x", "y"]
        if self.weight_numel or weight is not None:
            used = self._resolve_weight("weight", self._joined(weight), (self.weight_numel,), x)
            if self.shared_weights:
                shared.append(used)
            else:
                rows.append(used)
                names.append("weight")
        batches = [tensor.shape[:-1] for tensor in rows]
        batch: Sequence[int] = batches[0]
        is_flat = len(batch) == 1
        if any(other != batch for other in batches[1:]):  # `count` is beyond torch.compile
            is_flat = False
            batch = broadcast_batch(where, list(zip(names, batches, strict=True)))
        if self._plan is None:
            return x.new_zeros((*batch, self._out_dim))
        if not is_flat:
            rows = [flatten_rows(tensor, batch) for tensor in rows]
        out = run(self._plan, rows + shared if self.weight_numel else rows[:2])[0]
        return out if len(batch) == 1 else out.reshape((*batch, self._out_dim))

    def _joined(self, weight: Weight) -> torch.Tensor | None:
        """One tensor of weights, made of a list where that is given."""
        if not isinstance(weight, (list, tuple)):
            return weight  # type: ignore[return-value]
        shapes = [ins.path_shape for ins in self.instructions if ins.has_weight]
        given = [tuple(part.shape) for part in weight]
        if len(given) != len(shapes) or any(
            shape[len(shape) - len(wanted) :] != wanted
            for shape, wanted in zip(given, shapes, strict=True)
        ):
            raise ArgumentError(
                f"{type(self).__name__}: weight: expected tensors [..., *path_shape] "
                f"of path shapes {shapes}, got {given}"
            )
        parts = zip(weight, shapes, strict=True)
        return torch.cat([part.flatten(part.dim() - len(shape)) for part, shape in parts], dim=-1)
