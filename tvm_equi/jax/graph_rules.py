"""How each operation of a graph runs in JAX.

In: a node. Out: a function of the values that it reads. What does not depend on values (plans,
offsets, permutations) is made once, before the first call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, singledispatch
from itertools import accumulate, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
from tvm_equi.jax.graph_call import Call, Rule
from tvm_equi.jax.graph_convolution import chosen, convolution_rule
from tvm_equi.jax.harmonics import harmonics_function
from tvm_equi.jax.lengths import length
from tvm_equi.jax.operator import run

FUNCTIONS: dict[ScalarFunction, Callable[[Any], Any]] = {
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "abs": jnp.abs,
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
    return operation_rule(node.operation, types)


@singledispatch
def operation_rule(operation: Any, types: list[Type]) -> Rule:
    """The rule of one operation, given the types of its inputs.

    Args:
        operation: any but a convolution.
        types: of its inputs.

    Raises:
        UnsupportedError: there is none.
    """
    raise UnsupportedError(f"graph: {type(operation).__name__}: expected an operation with a rule")


@operation_rule.register
def _(operation: TensorProduct, types: list[Type]) -> Rule:
    live, ranges = coupling_part(operation)
    if not live.instructions or not irreps_dim(operation.irreps_out):
        return _zeros(irreps_dim(operation.irreps_out))
    plan = kernel_of(live).plan()
    if live.weights == "none":
        return lambda call: run(plan, call.values[:2])[0]

    def multiply(call: Call) -> Any:
        x, y, weights = call.values
        return run(plan, [x, y, chosen(weights, ranges)])[0]

    return multiply


@operation_rule.register
def _(operation: Linear, types: list[Type]) -> Rule:
    dim = irreps_dim(operation.irreps_out)
    product = _zeros(dim)
    if sum(operation.weight_sizes()):
        plan = kernel_of(operation).plan()

        def product(call: Call) -> Any:
            return run(plan, call.values[:2])[0]

    if not operation.biases:
        return product
    columns = np.array(bias_columns(operation))

    def with_bias(call: Call) -> Any:
        bias = call.values[2]
        padded = jnp.zeros((*bias.shape[:-1], dim), bias.dtype).at[..., columns].set(bias)
        return product(call) + padded

    return with_bias


def _zeros(dim: int) -> Rule:
    """Zeros on the rows of the first input."""
    return lambda call: jnp.zeros((call.values[0].shape[0], dim), call.values[0].dtype)


@operation_rule.register
def _(operation: SymmetricContraction, types: list[Type]) -> Rule:
    if not operation.num_weights():
        return _zeros(irreps_dim(operation.irreps_out))
    plan = kernel_of(operation).plan()

    def contract(call: Call) -> Any:
        x, weights = call.values
        return run(plan, [x, jnp.ones(1, x.dtype), weights])[0]

    return contract


@operation_rule.register
def _(operation: SphericalHarmonics, types: list[Type]) -> Rule:
    harmonics = harmonics_function(operation)
    return lambda call: harmonics(call.values[0])


@operation_rule.register
def _(operation: Gather, types: list[Type]) -> Rule:
    return lambda call: jnp.take(call.values[0], call.values[1], axis=0, mode="clip")


@operation_rule.register
def _(operation: ScatterSum, types: list[Type]) -> Rule:
    factor = operation.factor
    into = types[1].into if isinstance(types[1], IndexType) else ""

    def scatter(call: Call) -> Any:
        x, index = call.values
        total = jax.ops.segment_sum(x, index, call.num_rows[into])
        return total if factor == 1.0 else total * factor

    return scatter


@operation_rule.register
def _(operation: Sum, types: list[Type]) -> Rule:
    return lambda call: call.values[0].sum(0) * operation.factor


@operation_rule.register
def _(operation: Add, types: list[Type]) -> Rule:
    def add(call: Call) -> Any:
        terms = zip(operation.factors, call.values, strict=True)
        return reduce(jnp.add, [value if f == 1.0 else value * f for f, value in terms])

    return add


@operation_rule.register
def _(operation: Slice, types: list[Type]) -> Rule:
    columns = slice_columns(operation, types[0])
    start, size = (columns[0], len(columns)) if columns else (0, 0)
    if columns == list(range(start, start + size)):
        return lambda call: call.values[0][..., start : start + size]
    taken = np.array(columns)
    return lambda call: call.values[0][..., taken]


@operation_rule.register
def _(operation: Concat, types: list[Type]) -> Rule:
    return lambda call: jnp.concatenate(call.values, -1)


@operation_rule.register
def _(operation: Norm, types: list[Type]) -> Rule:
    kind = types[0]
    segments = kind.segments if isinstance(kind, ValueType) else ()
    shapes = [(irrep.mul, 2 * irrep.degree + 1) for irrep in segments]
    bounds = list(pairwise(accumulate((mul * dim for mul, dim in shapes), initial=0)))
    is_mul_ir = not isinstance(kind, ValueType) or kind.layout == "mul_ir"

    def lengths(call: Call) -> Any:
        x = call.values[0]
        parts = []
        for (start, end), (mul, dim) in zip(bounds, shapes, strict=True):
            shape = (mul, dim) if is_mul_ir else (dim, mul)
            block = x[..., start:end].reshape(*x.shape[:-1], *shape)
            parts.append(length(block, axis=-1 if is_mul_ir else -2))
        return jnp.concatenate(parts, -1) if parts else x

    return lengths


@operation_rule.register
def _(operation: RadialBasis, types: list[Type]) -> Rule:
    cutoff = operation.cutoff

    def basis(call: Call) -> Any:
        lengths = call.values[0]
        ratio = lengths / cutoff
        frequencies = jnp.arange(1, operation.num + 1, dtype=lengths.dtype) * np.pi
        waves = jnp.sin(frequencies * ratio) * ((2 / cutoff) ** 0.5 / lengths)
        return waves * _envelope(operation, ratio)

    return basis


@operation_rule.register
def _(operation: Cutoff, types: list[Type]) -> Rule:
    return lambda call: _envelope(operation, call.values[0] / operation.cutoff)


def _envelope(operation: RadialBasis | Cutoff, ratio: Any) -> Any:
    """The cutoff polynomial of lengths in units of the cutoff."""
    first, second, third = operation.polynomial
    powers = ratio**operation.power
    inside = 1.0 + powers * (first + ratio * (second + ratio * third))
    return inside * (ratio < 1)


@operation_rule.register
def _(operation: Activation, types: list[Type]) -> Rule:
    kind = types[0]
    sizes = [irrep.mul for irrep in kind.segments] if isinstance(kind, ValueType) else []
    bounds = list(pairwise(accumulate(sizes, initial=0)))
    functions = [FUNCTIONS[name] for name in operation.functions]
    applied = list(zip(bounds, functions, operation.factors, strict=True))

    def activate(call: Call) -> Any:
        x = call.values[0]
        parts = [f(x[..., start:end]) * factor for (start, end), f, factor in applied]
        return jnp.concatenate(parts, -1) if parts else x

    return activate


@operation_rule.register
def _(operation: ScalarMLP, types: list[Type]) -> Rule:
    function, factor, sizes = FUNCTIONS[operation.function], operation.factor, operation.sizes
    last = len(sizes) - 2

    def perceptron(call: Call) -> Any:
        x = call.values[0]
        for number, weights in enumerate(call.values[1:]):
            matrix = weights.reshape(sizes[number], sizes[number + 1]) * sizes[number] ** -0.5
            if number == last:
                x = x @ (chosen(matrix, operation.columns) if operation.columns else matrix)
            else:
                x = function(x @ matrix) * factor
        return x

    return perceptron


@operation_rule.register
def _(operation: ComposedWeights, types: list[Type]) -> Rule:
    def part_of(value: Any, part: WeightPart) -> Any:
        rows = value[part.start : part.end].reshape(-1, part.row_length)
        return rows[:, part.first : part.last].reshape(part.shape)

    def compose(call: Call) -> Any:
        blocks = []
        for terms in operation.blocks:
            products = [
                jnp.einsum(
                    term.subscripts, *(part_of(call.values[part.slot], part) for part in term.parts)
                )
                * term.factor
                for term in terms
            ]
            blocks.append(reduce(jnp.add, products).reshape(-1))
        return jnp.concatenate(blocks) if blocks else call.values[0][:0]

    return compose
