"""How each operation of a graph runs, in arrays of any library.

In: a node. Out: a function of the values that it reads. What does not depend on values (plans,
ranges of columns) is made once, before the first call.
"""

from __future__ import annotations

from functools import reduce, singledispatch
from itertools import accumulate, groupby, pairwise
from math import pi
from operator import add, itemgetter
from typing import Any

from tvm_equi.errors import UnsupportedError
from tvm_equi.graph import TensorProductGraph
from tvm_equi.graph.columns import as_ranges, bias_columns, slice_columns
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
    ScalarMLP,
    ScatterSum,
    Slice,
    SphericalHarmonics,
    Sum,
    SymmetricContraction,
    TensorProduct,
    WeightPart,
)
from tvm_equi.graph.regions import Ranges, coupling_part, kernel_of
from tvm_equi.graph.types import IndexType, Type, ValueType, irreps_dim
from tvm_equi.runtime.rules.call import Call, Rule
from tvm_equi.runtime.rules.convolution import chosen, convolution_rule
from tvm_equi.runtime.rules.library import Array, ArrayLibrary


def node_rule(graph: TensorProductGraph, node: Node, library: ArrayLibrary) -> Rule:
    """The function that runs a node.

    Args:
        graph: that holds it.
        node: to run.
        library: of arrays.

    Raises:
        UnsupportedError: an operation without a rule.
    """
    types = [graph.types[name] for name in node.inputs]
    if isinstance(node.operation, Convolution):
        return convolution_rule(node.operation, types, node.inputs, library)
    return operation_rule(node.operation, types, library)


@singledispatch
def operation_rule(operation: Any, types: list[Type], library: ArrayLibrary) -> Rule:
    """The function that runs one operation.

    Args:
        operation: any but a convolution.
        types: of its inputs.
        library: of arrays.

    Raises:
        UnsupportedError: there is none.
    """
    raise UnsupportedError(f"graph: {type(operation).__name__}: expected an operation with a rule")


@operation_rule.register
def _(operation: TensorProduct, types: list[Type], library: ArrayLibrary) -> Rule:
    live, ranges = coupling_part(operation)
    if not live.instructions or not irreps_dim(operation.irreps_out):
        return _zeros(irreps_dim(operation.irreps_out), library)
    plan = kernel_of(live).plan()
    if live.weights == "none":
        return lambda call: library.run(plan, call.values[:2])[0]

    def multiply(call: Call) -> Array:
        x, y, weights = call.values
        return library.run(plan, [x, y, chosen(weights, ranges, library)])[0]

    return multiply


@operation_rule.register
def _(operation: Linear, types: list[Type], library: ArrayLibrary) -> Rule:
    dim = irreps_dim(operation.irreps_out)
    product = _zeros(dim, library)
    if sum(operation.weight_sizes()):
        plan = kernel_of(operation).plan()

        def product(call: Call) -> Array:
            return library.run(plan, call.values[:2])[0]

    if not operation.biases:
        return product
    ranges = as_ranges(bias_columns(operation))
    return lambda call: product(call) + _spread(call.values[2], ranges, dim, library)


def _zeros(dim: int, library: ArrayLibrary) -> Rule:
    """Zeros on the rows of the first input."""
    return lambda call: library.zeros(call.values[0], (call.values[0].shape[0], dim))


def _spread(values: Array, ranges: Ranges, dim: int, library: ArrayLibrary) -> Array:
    """Values [..., columns] in some ranges of [..., dim], and zeros elsewhere."""
    parts = []
    taken = end = 0
    for start, stop in (*ranges, (dim, dim)):
        parts.append(library.zeros(values, (*values.shape[:-1], start - end)))
        parts.append(values[..., taken : taken + stop - start])
        taken, end = taken + stop - start, stop
    return library.concat(parts)


@operation_rule.register
def _(operation: SymmetricContraction, types: list[Type], library: ArrayLibrary) -> Rule:
    if not operation.num_weights():
        return _zeros(irreps_dim(operation.irreps_out), library)
    plan = kernel_of(operation).plan()

    def contract(call: Call) -> Array:
        x, weights = call.values
        return library.run(plan, [x, library.ones(x, (1,)), weights])[0]

    return contract


@operation_rule.register
def _(operation: SphericalHarmonics, types: list[Type], library: ArrayLibrary) -> Rule:
    harmonics = library.harmonics(operation)
    return lambda call: harmonics(call.values[0])


@operation_rule.register
def _(operation: Gather, types: list[Type], library: ArrayLibrary) -> Rule:
    return lambda call: library.take_rows(call.values[0], call.values[1])


@operation_rule.register
def _(operation: ScatterSum, types: list[Type], library: ArrayLibrary) -> Rule:
    into = types[1].into if isinstance(types[1], IndexType) else ""

    def scatter(call: Call) -> Array:
        x, index = call.values
        return _scaled(library.sum_rows(x, index, call.num_rows[into]), operation.factor)

    return scatter


@operation_rule.register
def _(operation: Sum, types: list[Type], library: ArrayLibrary) -> Rule:
    return lambda call: _scaled(call.values[0].sum(0), operation.factor)


@operation_rule.register
def _(operation: Add, types: list[Type], library: ArrayLibrary) -> Rule:
    factors = operation.factors
    return lambda call: reduce(add, map(_scaled, call.values, factors))


def _scaled(values: Array, factor: float) -> Array:
    return values if factor == 1.0 else values * factor


@operation_rule.register
def _(operation: Slice, types: list[Type], library: ArrayLibrary) -> Rule:
    ranges = as_ranges(slice_columns(operation, types[0]))
    return lambda call: chosen(call.values[0], ranges, library)


@operation_rule.register
def _(operation: Concat, types: list[Type], library: ArrayLibrary) -> Rule:
    return lambda call: library.concat(call.values)


@operation_rule.register
def _(operation: Norm, types: list[Type], library: ArrayLibrary) -> Rule:
    kind = types[0]
    segments = kind.segments if isinstance(kind, ValueType) else ()
    shapes = [(irrep.mul, 2 * irrep.degree + 1) for irrep in segments]
    bounds = list(pairwise(accumulate((mul * dim for mul, dim in shapes), initial=0)))
    is_mul_ir = not isinstance(kind, ValueType) or kind.layout == "mul_ir"

    def lengths(call: Call) -> Array:
        x = call.values[0]
        parts = []
        for (start, end), (mul, dim) in zip(bounds, shapes, strict=True):
            shape = (mul, dim) if is_mul_ir else (dim, mul)
            block = x[..., start:end].reshape(*x.shape[:-1], *shape)
            parts.append(library.length(block, -1 if is_mul_ir else -2))
        return library.concat(parts) if parts else x

    return lengths


@operation_rule.register
def _(operation: RadialBasis, types: list[Type], library: ArrayLibrary) -> Rule:
    cutoff = operation.cutoff

    def basis(call: Call) -> Array:
        lengths = call.values[0]
        ratio = lengths / cutoff
        frequencies = library.count_to(lengths, operation.num) * pi
        waves = library.sin(frequencies * ratio) * ((2 / cutoff) ** 0.5 / lengths)
        return waves * _envelope(operation, ratio)

    return basis


@operation_rule.register
def _(operation: Cutoff, types: list[Type], library: ArrayLibrary) -> Rule:
    return lambda call: _envelope(operation, call.values[0] / operation.cutoff)


def _envelope(operation: RadialBasis | Cutoff, ratio: Array) -> Array:
    """The cutoff polynomial of lengths in units of the cutoff."""
    first, second, third = operation.polynomial
    powers = ratio**operation.power
    inside = 1.0 + powers * (first + ratio * (second + ratio * third))
    return inside * (ratio < 1)


@operation_rule.register
def _(operation: Activation, types: list[Type], library: ArrayLibrary) -> Rule:
    kind = types[0]
    sizes = [irrep.mul for irrep in kind.segments] if isinstance(kind, ValueType) else []
    bounds = pairwise(accumulate(sizes, initial=0))
    segments = zip(bounds, operation.functions, operation.factors, strict=True)
    applied = []
    for (name, factor), group in groupby(segments, itemgetter(1, 2)):
        ranges = [columns for columns, _, _ in group]
        applied.append((((ranges[0][0], ranges[-1][1]),), library.functions[name], factor))

    def activate(call: Call) -> Array:
        x = call.values[0]
        parts = [_scaled(f(chosen(x, columns, library)), factor) for columns, f, factor in applied]
        if not parts:
            return x
        return library.concat(parts) if len(parts) > 1 else parts[0]

    return activate


@operation_rule.register
def _(operation: ScalarMLP, types: list[Type], library: ArrayLibrary) -> Rule:
    function, sizes = library.functions[operation.function], operation.sizes
    last = len(sizes) - 2
    columns = operation.columns or ((0, sizes[-1]),)

    def perceptron(call: Call) -> Array:
        x = call.values[0]
        for number, weights in enumerate(call.values[1:]):
            matrix = weights.reshape(sizes[number], sizes[number + 1]) * sizes[number] ** -0.5
            if number == last:
                x = x @ chosen(matrix, columns, library)
            else:
                x = function(x @ matrix) * operation.factor
        return x

    return perceptron


@operation_rule.register
def _(operation: ComposedWeights, types: list[Type], library: ArrayLibrary) -> Rule:
    def part_of(value: Array, part: WeightPart) -> Array:
        rows = value[part.start : part.end].reshape(-1, part.row_length)
        return rows[:, part.first : part.last].reshape(part.shape)

    def compose(call: Call) -> Array:
        blocks = []
        for terms in operation.blocks:
            products = [
                library.einsum(
                    term.subscripts, *(part_of(call.values[part.slot], part) for part in term.parts)
                )
                * term.factor
                for term in terms
            ]
            blocks.append(reduce(add, products).reshape(-1))
        return library.concat(blocks) if blocks else call.values[0][:0]

    return compose
