"""Compares a graph's module with e3nn: values, gradients, gradients of gradients.

In: a module. Out: relative errors on random data, or an error where they are too large. The
reference runs the same graph with every product, linear layer and spherical harmonic computed by
e3nn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3

from tvm_equi.errors import ArtifactError
from tvm_equi.graph.columns import bias_columns
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Convolution,
    Linear,
    Operation,
    SphericalHarmonics,
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.regions import coupling_part
from tvm_equi.graph.types import IndexType, is_layout_free, parse_irreps
from tvm_equi.nn.graph_module import DTYPES, GraphModule, torch_rule
from tvm_equi.nn.graph_unfused import unfused_rule
from tvm_equi.nn.symmetric_reference import symmetric_reference
from tvm_equi.runtime.rules.call import Call, Rule

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}


@dataclass(frozen=True, slots=True)
class Report:
    """Largest errors, relative to the largest number of the same kind.

    Args:
        forward: of outputs.
        backward: of gradients to inputs and parameters.
        double_backward: of gradients of the squared gradients to inputs.
        tolerance: that they are below.
    """

    forward: float
    backward: float
    double_backward: float
    tolerance: float

    def __str__(self) -> str:
        """The errors in a line."""
        return (
            f"relative errors: forward {self.forward:.1e}, backward {self.backward:.1e}, "
            f"double backward {self.double_backward:.1e} (tolerance {self.tolerance:.0e})"
        )


def compare(
    module: GraphModule,
    reference: Callable[..., Any] | None = None,
    *,
    rows: int = 32,
    seed: int = 0,
    tolerance: float | None = None,
) -> Report:
    """The errors of a module.

    Args:
        module: to test.
        reference: takes the same arguments in the same order, and has parameters of its own, to
            which nothing is differentiated; e3nn with the module's parameters by default.
        rows: of each kind.
        seed: of the random data.
        tolerance: of relative errors.

    Raises:
        ArtifactError: an error is above the tolerance.
    """
    dtype = next(
        (
            DTYPES[kind.dtype]
            for kind in module.graph.types.values()
            if not isinstance(kind, IndexType)
        ),
        torch.float32,
    )
    bound = TOLERANCES[dtype] if tolerance is None else tolerance
    inputs = random_inputs(module, rows, seed)
    against = reference or reference_module(module)
    own = [p for p in module.parameters() if p.requires_grad] if reference is None else []
    found, expected = _derivatives(module, own, inputs), _derivatives(against, own, inputs)
    errors = [_relative_error(a, b) for a, b in zip(found, expected, strict=True)]
    report = Report(errors[0], errors[1], errors[2], bound)
    for name, error in zip(("forward", "backward", "double backward"), errors, strict=True):
        if not error <= bound:
            raise ArtifactError(
                f"verify: {name}: expected a relative error of at most {bound:.0e}, got {error:.1e}"
            )
    return report


def random_inputs(module: GraphModule, rows: int, seed: int) -> dict[str, torch.Tensor]:
    """Random inputs of a module.

    Args:
        module: to make them for.
        rows: of each kind.
        seed: of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs: dict[str, torch.Tensor] = {}
    for name in module.graph.inputs:
        kind = module.graph.types[name]
        count = () if kind.rows == "shared" else (rows,)
        if isinstance(kind, IndexType):
            inputs[name] = torch.randint(0, rows, count, generator=generator)
        else:
            inputs[name] = torch.randn(
                (*count, kind.dim), generator=generator, dtype=DTYPES[kind.dtype]
            )
    return inputs


def _derivatives(
    function: Callable[..., Any], own: list[torch.nn.Parameter], inputs: dict[str, torch.Tensor]
) -> list[list[torch.Tensor]]:
    """Values, gradients to inputs and to `own`, gradients of gradients."""
    leaves = {
        name: value.clone().requires_grad_(value.is_floating_point())
        for name, value in inputs.items()
    }
    inner = [value for value in leaves.values() if value.requires_grad]
    found = function(*leaves.values())
    outputs = list(found.values()) if isinstance(found, dict) else [found]
    total = torch.stack([(out * torch.sin(out.detach() + 1)).sum() for out in outputs]).sum()
    first = _gradients(total, [*inner, *own])
    length = torch.stack([grad.square().sum() for grad in first[: len(inner)]]).sum()
    second = _gradients(length, [*inner, *own])
    return [[out.detach() for out in outputs], [grad.detach() for grad in first], second]


def _gradients(total: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    """The gradient to each leaf, zeros where there is none."""
    if not total.requires_grad or not leaves:
        return [torch.zeros_like(leaf) for leaf in leaves]
    grads = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
    return [
        torch.zeros_like(leaf) if grad is None else grad  # type: ignore[redundant-expr]
        for grad, leaf in zip(grads, leaves, strict=True)
    ]


def _relative_error(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The largest difference over the largest number, tensor by tensor."""
    errors = [0.0]
    for left, right in zip(found, expected, strict=True):
        if left.numel():
            scale = float(right.detach().abs().max())
            difference = float((left - right).detach().abs().max())
            errors.append(difference / scale if scale else difference)
    return max(errors)


def reference_module(module: GraphModule) -> GraphModule:
    """The same graph, with e3nn for all arithmetic on irreps; shares the parameters.

    Args:
        module: whose graph and parameters to use.
    """
    reference = GraphModule(module.graph, rules=prepare_reference)
    for name, parameter in module.named_parameters():
        path, _, last = name.rpartition(".")
        setattr(reference.get_submodule(path), last, parameter)
    return reference


def prepare_reference(graph: Any, node: Node) -> Rule:
    """The rule of a node, by e3nn where it has one.

    Args:
        graph: that holds the node.
        node: to run.
    """
    operation: Operation = node.operation
    if isinstance(operation, Convolution):
        inner = operation.harmonics
        types = [graph.types[name] for name in node.inputs]
        harmonics = None if inner is None else _harmonics_rule(inner)
        return unfused_rule(operation, types, _product_rule(operation.product), harmonics)
    if isinstance(operation, SphericalHarmonics):
        return _harmonics_rule(operation)
    if isinstance(operation, TensorProduct):
        return _product_rule(operation)
    if isinstance(operation, Linear):
        return _linear_rule(operation)
    if isinstance(operation, SymmetricContraction):
        return _symmetric_rule(operation)
    return torch_rule(graph, node)


def _harmonics_rule(operation: SphericalHarmonics) -> Rule:
    """Spherical harmonics by e3nn, which has no empty ones."""
    degrees, normalize = list(operation.degrees), operation.normalize
    if not degrees:  # pruned away
        return lambda call: call.values[0].narrow(-1, 0, 0)
    return lambda call: o3.spherical_harmonics(
        degrees, call.values[0], normalize, operation.normalization
    )


def _product_rule(operation: TensorProduct) -> Rule:
    """A tensor product by e3nn, whose path weight is the square of ours."""
    live, ranges = coupling_part(operation)
    with _default_dtype(torch.float64):  # e3nn rounds its constants to the default dtype
        module = o3.TensorProduct(
            operation.irreps_in1,
            operation.irreps_in2,
            operation.irreps_out,
            [
                (ins.i_in1, ins.i_in2, ins.i_out, ins.mode, ins.has_weight, ins.coefficient**2)
                for ins in live.instructions
            ],
            irrep_normalization="none",
            path_normalization="none",
            internal_weights=False,
            shared_weights=operation.weights != "row",
        )
    signs = [ins.coefficient < 0 for ins in live.instructions]
    if any(signs):
        raise ArtifactError("verify: expected coefficients above 0, which e3nn can compute")
    layouts = (operation.irreps_in1, operation.irreps_in2, operation.irreps_out)
    is_ir_mul = operation.layout == "ir_mul"

    def product(call: Call) -> torch.Tensor:
        x, y, *rest = call.values
        if is_ir_mul:
            x, y = to_mul_ir(x, layouts[0]), to_mul_ir(y, layouts[1])
        used = [torch.cat([w[..., a:b] for a, b in ranges], -1) for w in rest if ranges]
        out = module.to(x.dtype)(x, y, *used)
        return from_mul_ir(out, layouts[2]) if is_ir_mul else out

    return product


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets torch's default dtype for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _linear_rule(operation: Linear) -> Rule:
    """A linear layer by e3nn's matrix products, path by path."""
    left, out = parse_irreps(operation.irreps_in), parse_irreps(operation.irreps_out)
    columns = bias_columns(operation) if operation.biases else []
    is_ir_mul = operation.layout == "ir_mul"

    def linear(call: Call) -> torch.Tensor:
        x, weights = call.values[:2]
        if is_ir_mul:
            x = to_mul_ir(x, operation.irreps_in)
        parts = x.split([irrep.dim for irrep in left], -1)
        sums = [x.new_zeros((x.shape[0], irrep.mul, 2 * irrep.degree + 1)) for irrep in out]
        start = 0
        for path, size in zip(operation.paths, operation.weight_sizes(), strict=True):
            u, w = left[path.i_in].mul, out[path.i_out].mul
            matrix = weights[..., start : start + size].unflatten(-1, (u, w))
            block = parts[path.i_in].reshape(x.shape[0], u, -1)
            product = (
                torch.einsum("...uw,zui->zwi", matrix, block)
                if matrix.dim() == 2
                else (torch.einsum("zuw,zui->zwi", matrix, block))
            )
            sums[path.i_out] = sums[path.i_out] + path.coefficient * product
            start += size
        total = torch.cat([x.new_zeros((x.shape[0], 0)), *(part.flatten(1) for part in sums)], -1)
        if columns:
            bias = call.values[2].expand(x.shape[0], -1)
            total = total.index_add(1, torch.tensor(columns), bias)
        return from_mul_ir(total, operation.irreps_out) if is_ir_mul else total

    return linear


def _symmetric_rule(operation: SymmetricContraction) -> Rule:
    """A symmetric contraction, polynomial by polynomial."""
    contract, is_ir_mul = symmetric_reference(operation), operation.layout == "ir_mul"

    def symmetric(call: Call) -> torch.Tensor:
        x, weights = call.values
        out = contract(to_mul_ir(x, operation.irreps_in) if is_ir_mul else x, weights)
        return from_mul_ir(out, operation.irreps_out) if is_ir_mul else out

    return symmetric


def to_mul_ir(x: torch.Tensor, irreps: str) -> torch.Tensor:
    """Values in layout mul_ir, given in ir_mul: [rows, irreps.dim]."""
    return _transposed(x, irreps, channels_first=False)


def from_mul_ir(x: torch.Tensor, irreps: str) -> torch.Tensor:
    """Values in layout ir_mul, given in mul_ir: [rows, irreps.dim]."""
    return _transposed(x, irreps, channels_first=True)


def _transposed(x: torch.Tensor, irreps: str, *, channels_first: bool) -> torch.Tensor:
    """Each irrep's block with channels and components exchanged."""
    if is_layout_free(irreps):
        return x
    segments = parse_irreps(irreps)
    blocks = []
    for block, irrep in zip(x.split([s.dim for s in segments], -1), segments, strict=True):
        shape = (irrep.mul, 2 * irrep.degree + 1)
        block = block.unflatten(-1, shape if channels_first else shape[::-1])
        blocks.append(block.transpose(-1, -2).flatten(-2))
    return torch.cat(blocks, -1)
