"""How each operation of a graph runs in torch.

In: a node. Out: a function of the values that it reads. What does not depend on values (plans,
offsets, permutations) is made once, before the first call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, singledispatch
from typing import Any

import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.graph import TensorProductGraph
from tvm_equi.graph.columns import bias_columns, slice_columns
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Activation,
    Add,
    ComposedWeights,
    Concat,
    Convolution,
    Cutoff,
    Gather,
    Linear,
    Norm,
    RadialBasis,
    ScalarFunction,
    ScalarMLP,
    ScatterSum,
    Slice,
    SphericalHarmonics,
    Sum,
    SymmetricContraction,
    TensorProduct,
    WeightPart,
)
from tvm_equi.graph.regions import coupling_part, kernel_of
from tvm_equi.graph.types import IndexType, Type, ValueType, irreps_dim
from tvm_equi.nn.graph_call import Call, Rule
from tvm_equi.nn.graph_convolution import convolution_rule
from tvm_equi.nn.spherical_harmonics import SphericalHarmonics as HarmonicsModule
from tvm_equi.runtime.torch_op import run

FUNCTIONS: dict[ScalarFunction, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "abs": torch.abs,
    "identity": lambda x: x,
}


def prepare(graph: TensorProductGraph, node: Node) -> Rule:
    """The function that runs a node.

    Args:
        graph: that holds it.
        node: to run.
    """
    types = [graph.types[name] for name in node.inputs]
    if isinstance(node.operation, Convolution):
        return convolution_rule(node.operation, types, node.inputs)
    return _prepare(node.operation, types)


@singledispatch
def _prepare(operation: Any, types: list[Type]) -> Rule:
    """The rule of one operation, given the types of its inputs.

    Raises:
        UnsupportedError: there is none.
    """
    raise UnsupportedError(f"graph: {type(operation).__name__}: expected an operation with a rule")


@_prepare.register
def _(operation: TensorProduct, types: list[Type]) -> Rule:
    live, ranges = coupling_part(operation)
    if not live.instructions or not irreps_dim(operation.irreps_out):
        return _zeros(irreps_dim(operation.irreps_out))
    plan = kernel_of(live).plan()
    if live.weights == "none":
        return lambda call: run(plan, call.values[:2])[0]
    if live.instructions == operation.instructions:
        return lambda call: run(plan, call.values)[0]

    def with_some_weights(call: Call) -> torch.Tensor:
        x, y, weights = call.values
        return run(plan, [x, y, torch.cat([weights[..., a:b] for a, b in ranges], -1)])[0]

    return with_some_weights


@_prepare.register
def _(operation: Linear, types: list[Type]) -> Rule:
    dim = irreps_dim(operation.irreps_out)
    product = _zeros(dim)
    if sum(operation.weight_sizes()):
        plan = kernel_of(operation).plan()

        def product(call: Call) -> torch.Tensor:
            return run(plan, call.values[:2])[0]

    if not operation.biases:
        return product
    columns = torch.tensor(bias_columns(operation))

    def with_bias(call: Call) -> torch.Tensor:
        bias = call.values[2]
        padded = bias.new_zeros((*bias.shape[:-1], dim)).index_copy(-1, columns, bias)
        return product(call) + padded

    return with_bias


def _zeros(dim: int) -> Rule:
    """Zeros on the rows of the first input."""
    return lambda call: call.values[0].new_zeros((call.values[0].shape[0], dim))


@_prepare.register
def _(operation: SymmetricContraction, types: list[Type]) -> Rule:
    if not operation.num_weights():
        return _zeros(irreps_dim(operation.irreps_out))
    plan = kernel_of(operation).plan()

    def contract(call: Call) -> torch.Tensor:
        x, weights = call.values
        return run(plan, [x, x.new_ones(1), weights])[0]

    return contract


@_prepare.register
def _(operation: SphericalHarmonics, types: list[Type]) -> Rule:
    module = HarmonicsModule(list(operation.degrees), operation.normalize, operation.normalization)
    return lambda call: module(call.values[0])


@_prepare.register
def _(operation: Gather, types: list[Type]) -> Rule:
    return lambda call: call.values[0].index_select(0, call.values[1])


@_prepare.register
def _(operation: ScatterSum, types: list[Type]) -> Rule:
    factor = operation.factor
    into = types[1].into if isinstance(types[1], IndexType) else ""

    def scatter(call: Call) -> torch.Tensor:
        x, index = call.values
        total = x.new_zeros((call.num_rows[into], x.shape[1])).index_add(0, index, x)
        return total if factor == 1.0 else total * factor

    return scatter


@_prepare.register
def _(operation: Sum, types: list[Type]) -> Rule:
    factor = operation.factor
    if factor == 1.0:
        return lambda call: call.values[0].sum(0)
    return lambda call: call.values[0].sum(0) * factor


@_prepare.register
def _(operation: Add, types: list[Type]) -> Rule:
    def add(call: Call) -> torch.Tensor:
        total: torch.Tensor | None = None
        for factor, value in zip(operation.factors, call.values, strict=True):
            if total is None:
                total = value if factor == 1.0 else value * factor
            else:
                total = torch.add(total, value, alpha=factor)
        return call.values[0] if total is None else total

    return add


@_prepare.register
def _(operation: Slice, types: list[Type]) -> Rule:
    columns = torch.tensor(slice_columns(operation, types[0]), dtype=torch.int64)
    start, size = (int(columns[0]), len(columns)) if len(columns) else (0, 0)
    if columns.equal(torch.arange(start, start + size)):
        return lambda call: call.values[0].narrow(-1, start, size)
    return lambda call: call.values[0].index_select(-1, columns)


@_prepare.register
def _(operation: Concat, types: list[Type]) -> Rule:
    return lambda call: torch.cat(call.values, dim=-1)


@_prepare.register
def _(operation: Norm, types: list[Type]) -> Rule:
    kind = types[0]
    segments = kind.segments if isinstance(kind, ValueType) else ()
    shapes = [(irrep.mul, 2 * irrep.degree + 1) for irrep in segments]
    is_mul_ir = not isinstance(kind, ValueType) or kind.layout == "mul_ir"

    def lengths(call: Call) -> torch.Tensor:
        x = call.values[0]
        parts = []
        for block, (mul, dim) in zip(x.split([m * d for m, d in shapes], -1), shapes, strict=True):
            shape = (mul, dim) if is_mul_ir else (dim, mul)
            axis = -1 if is_mul_ir else -2
            parts.append(torch.linalg.vector_norm(block.unflatten(-1, shape), dim=axis))
        return torch.cat(parts, dim=-1) if parts else x

    return lengths


@_prepare.register
def _(operation: RadialBasis, types: list[Type]) -> Rule:
    cutoff = operation.cutoff

    def basis(call: Call) -> torch.Tensor:
        lengths = call.values[0]
        ratio = lengths / cutoff
        frequencies = torch.arange(1, operation.num + 1, dtype=lengths.dtype) * torch.pi
        waves = torch.sin(frequencies * ratio) * ((2 / cutoff) ** 0.5 / lengths)
        result: torch.Tensor = waves * _envelope(operation, ratio)
        return result

    return basis


@_prepare.register
def _(operation: Cutoff, types: list[Type]) -> Rule:
    return lambda call: _envelope(operation, call.values[0] / operation.cutoff)


def _envelope(operation: RadialBasis | Cutoff, ratio: torch.Tensor) -> torch.Tensor:
    """The cutoff polynomial of lengths in units of the cutoff."""
    first, second, third = operation.polynomial
    powers = ratio**operation.power
    inside = 1.0 + powers * (first + ratio * (second + ratio * third))
    result: torch.Tensor = inside * (ratio < 1)
    return result


@_prepare.register
def _(operation: Activation, types: list[Type]) -> Rule:
    kind = types[0]
    sizes = [irrep.mul for irrep in kind.segments] if isinstance(kind, ValueType) else []
    functions = [FUNCTIONS[name] for name in operation.functions]
    applied = list(zip(functions, operation.factors, strict=True))
    if len(set(applied)) == 1:
        function, factor = applied[0]
        return lambda call: function(call.values[0]) * factor

    def activate(call: Call) -> torch.Tensor:
        x = call.values[0]
        parts = [f(part) * c for part, (f, c) in zip(x.split(sizes, -1), applied, strict=True)]
        return torch.cat(parts, dim=-1) if parts else x

    return activate


@_prepare.register
def _(operation: ScalarMLP, types: list[Type]) -> Rule:
    function, factor, sizes = FUNCTIONS[operation.function], operation.factor, operation.sizes
    last = len(sizes) - 2

    def perceptron(call: Call) -> torch.Tensor:
        x = call.values[0]
        for number, weights in enumerate(call.values[1:]):
            matrix = weights.reshape(sizes[number], sizes[number + 1]) * sizes[number] ** -0.5
            if number == last:
                if operation.columns:
                    matrix = torch.cat([matrix[:, a:b] for a, b in operation.columns], dim=1)
                x = x @ matrix
            else:
                x = function(x @ matrix) * factor
        return x

    return perceptron


@_prepare.register
def _(operation: ComposedWeights, types: list[Type]) -> Rule:
    def part_of(value: torch.Tensor, part: WeightPart) -> torch.Tensor:
        rows = value[part.start : part.end].reshape(-1, part.row_length)
        return rows[:, part.first : part.last].reshape(part.shape)

    def compose(call: Call) -> torch.Tensor:
        blocks = []
        for terms in operation.blocks:
            products = [
                torch.einsum(
                    term.subscripts, *(part_of(call.values[part.slot], part) for part in term.parts)
                )
                * term.factor
                for term in terms
            ]
            blocks.append(reduce(torch.add, products).reshape(-1))
        return torch.cat(blocks) if blocks else call.values[0][:0]

    return compose
