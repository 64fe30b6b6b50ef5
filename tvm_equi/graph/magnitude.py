"""How large values and paths of a graph are: norms that no rotation changes.

In: a graph, values of its parameters and, if there are any, inputs to measure on. Out: the root
mean square of a component of every channel, and a score of every path: the size of what it adds to
the channels of the output, |W| times the mean sizes of what it couples. Without inputs, those are
taken to be of unit variance, as e3nn's normalisation has them, and sizes are propagated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_equi.graph.channels import product_inputs
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.interpret import interpret
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Activation,
    Add,
    Concat,
    Convolution,
    Gather,
    Instruction,
    Linear,
    Norm,
    ScalarMLP,
    ScatterSum,
    Slice,
    SphericalHarmonics,
    Sum,
    TensorProduct,
)
from tvm_equi.graph.types import ValueType

Array = NDArray[np.float64]
Sizes = list[Array]
"""The size of every channel, one array per segment."""

_LETTERS = {
    "uvw": "uvw",
    "uvu": "uv",
    "uvv": "uv",
    "uuu": "u",
    "uvuv": "uv",
    "uuw": "uw",
}
_OUT = {"uvw": "w", "uvu": "u", "uvv": "v", "uuu": "u", "uvuv": "uv", "uuw": "w"}


@dataclass(slots=True)
class Magnitudes:
    """Sizes of a graph's values and weights.

    Args:
        graph: that was looked at.
        parameters: values by name.
        sizes: by the name of the value.
        is_measured: whether the sizes come from data.
    """

    graph: TensorProductGraph
    parameters: Mapping[str, Array]
    sizes: dict[str, Sizes]
    is_measured: bool = False

    def product_scores(self, node: Node) -> list[Array]:
        """What each path of a product adds to each channel of its output.

        Args:
            node: a product or convolution.
        """
        operation = node.operation
        product = operation.product if isinstance(operation, Convolution) else operation
        if not isinstance(product, TensorProduct):
            return []
        return [np.sqrt(squares) for squares in _product_squares(self, node, product)]

    def linear_scores(self, node: Node) -> list[Array]:
        """What each path of a linear layer adds to each channel of its output.

        Args:
            node: a linear layer.
        """
        if not isinstance(node.operation, Linear):
            return []
        return [np.sqrt(matrix.sum(axis=0)) for matrix in self.linear_squares(node)]

    def linear_squares(self, node: Node) -> list[Array]:
        """Squares of what each path adds, from each channel [in] to each channel [out].

        Args:
            node: a linear layer.
        """
        linear = node.operation
        if not isinstance(linear, Linear):
            return []
        kinds = (self.graph.types[node.inputs[0]], self.graph.types[node.name])
        weights = self.parameters.get(node.inputs[1])
        found, start = [], 0
        for path, size in zip(linear.paths, linear.weight_sizes(), strict=True):
            shape = (_mul(kinds[0], path.i_in), _mul(kinds[1], path.i_out))
            block = np.ones(size) if weights is None else weights[start : start + size]
            start += size
            x = self.sizes[node.inputs[0]][path.i_in]
            found.append((path.coefficient * block.reshape(shape) * x[:, None]) ** 2)
        return found


def _mul(kind: Any, segment: int) -> int:
    """Channels of a segment."""
    return int(kind.segments[segment].mul)


def magnitudes(
    graph: TensorProductGraph,
    parameters: Mapping[str, Array],
    data: Mapping[str, Any] | None = None,
) -> Magnitudes:
    """The sizes of a graph's values.

    Args:
        graph: to look at.
        parameters: values by name.
        data: inputs by name, to measure on.
    """
    found = Magnitudes(graph, parameters, {}, data is not None)
    measured = {} if data is None else _measured(graph, {**parameters, **data})
    for node in graph.nodes:
        kind = graph.types[node.name]
        if isinstance(kind, ValueType):
            found.sizes[node.name] = measured.get(node.name) or _estimated(found, node, kind)
    return found


def _measured(graph: TensorProductGraph, arrays: Mapping[str, Any]) -> dict[str, Sizes]:
    """Root mean squares over rows and components."""
    names = tuple(
        node.name for node in graph.nodes if isinstance(graph.types[node.name], ValueType)
    )
    values = interpret(TensorProductGraph(graph.nodes, names), arrays)
    found: dict[str, Sizes] = {}
    for name in names:
        kind, sizes, start = graph.types[name], [], 0
        value = np.atleast_2d(values[name])
        for irrep in kind.segments if isinstance(kind, ValueType) else ():
            block = value[:, start : start + irrep.dim]
            start += irrep.dim
            dim = 2 * irrep.degree + 1
            is_mul_ir = not isinstance(kind, ValueType) or kind.layout == "mul_ir"
            shape = (irrep.mul, dim) if is_mul_ir else (dim, irrep.mul)
            block = block.reshape(len(value), *shape)
            axes = (0, 2) if is_mul_ir else (0, 1)
            sizes.append(np.sqrt((block**2).mean(axis=axes)) if block.size else np.ones(irrep.mul))
        found[name] = sizes
    return found


def _estimated(found: Magnitudes, node: Node, kind: ValueType) -> Sizes:
    """The sizes of a value whose inputs have known ones."""
    ones = [np.ones(irrep.mul) for irrep in kind.segments]
    given = [found.sizes[name] for name in node.inputs if name in found.sizes]
    match node.operation:
        case TensorProduct() | Convolution():
            return _summed_product(found, node, ones, kind)
        case Linear(paths=paths):
            squares = [np.zeros(len(one)) for one in ones]
            for path, matrix in zip(paths, found.linear_squares(node), strict=True):
                squares[path.i_out] += matrix.sum(axis=0)
            return _with_biases(found, node, squares)
        case Gather() | ScatterSum() | Sum():
            return list(given[0])
        case Activation(functions=functions):
            return [
                np.maximum(size, 1.0) if name == "sigmoid" else size  # sigmoid(0) is not 0
                for name, size in zip(functions, given[0], strict=True)
            ]
        case Norm():
            return _norms(found.graph.types[node.inputs[0]], given[0])
        case Add(factors=factors):
            terms = [
                [(factor * size) ** 2 for size in sizes]
                for factor, sizes in zip(factors, given, strict=True)
            ]
            return [np.sqrt(reduce(np.add, blocks)) for blocks in zip(*terms, strict=True)]
        case Slice(parts=parts):
            return [given[0][segment][start:end] for segment, start, end in parts]
        case Concat():
            return [size for sizes in given for size in sizes]
        case SphericalHarmonics(degrees=degrees) as harmonics:
            values = [harmonics.pole_value(degree) for degree in degrees]
            return [
                np.array([value / np.sqrt(2 * degree + 1)])
                for value, degree in zip(values, degrees, strict=True)
            ]
        case _:
            return ones


def _norms(kind: Any, sizes: Sizes) -> Sizes:
    """The sizes of lengths, of those of components."""
    return [
        np.sqrt(2 * irrep.degree + 1) * size
        for irrep, size in zip(kind.segments, sizes, strict=True)
    ]


def _with_biases(found: Magnitudes, node: Node, squares: Sizes) -> Sizes:
    """The sizes of a linear layer's value, of their squares without biases."""
    linear, start = node.operation, 0
    if isinstance(linear, Linear) and linear.biases:
        flat = found.parameters.get(node.inputs[2], np.ones(sum(linear.bias_sizes())))
        for segment, size in zip(linear.biases, linear.bias_sizes(), strict=True):
            squares[segment] += flat[start : start + size] ** 2
            start += size
    return [np.sqrt(square) for square in squares]


def _summed_product(found: Magnitudes, node: Node, ones: Sizes, kind: ValueType) -> Sizes:
    """Sizes of a product: those of its paths, added as if they were independent."""
    product = node.operation.product if isinstance(node.operation, Convolution) else node.operation
    if not isinstance(product, TensorProduct):
        return ones
    squares = [np.zeros(len(one)) for one in ones]
    paths = _product_squares(found, node, product)
    for ins, added in zip(product.instructions, paths, strict=True):
        squares[ins.i_out] += added / (2 * kind.segments[ins.i_out].degree + 1)
    return [np.sqrt(square) for square in squares]


def _product_squares(found: Magnitudes, node: Node, product: TensorProduct) -> list[Array]:
    """Mean square norms of what each path adds to each channel; a 3j symbol has norm 1."""
    x, y, _ = product_inputs(node)
    squares = []
    weights = path_weights(found, node, product)
    for ins, weight in zip(product.instructions, weights, strict=True):
        u, v, w = (irrep.mul for irrep in product.irreps_of(ins))
        if ins.mode not in _LETTERS or 0 in (u, v, w):
            squares.append(np.full(w, ins.coefficient**2))
            continue
        left = found.sizes[x][ins.i_in1] ** 2
        right = np.ones(v) if y is None else found.sizes[y][ins.i_in2] ** 2
        letters = _LETTERS[ins.mode]
        second = "u" if ins.mode in ("uuu", "uuw") else "v"
        shape = {"u": u, "v": v, "w": w}
        block = np.ones([shape[letter] for letter in letters]) if weight is None else weight**2
        total = np.einsum(f"{letters},u,{second}->{_OUT[ins.mode]}", block, left, right)
        squares.append(ins.coefficient**2 * total.reshape(-1))
    return squares


def path_weights(found: Magnitudes, node: Node, product: TensorProduct) -> list[Array | None]:
    """The size of the weights of each path, in the shape of its channels; None without weights.

    Args:
        found: sizes so far.
        node: a product or convolution.
        product: its product.
    """
    flat = _flat_weights(found, node, product)
    blocks: list[Array | None] = []
    start = 0
    for ins, size in zip(product.instructions, product.weight_sizes(), strict=True):
        if not size or ins.mode not in _LETTERS:
            blocks.append(None)
        else:
            shape = _weight_shape(product, ins)
            blocks.append(flat[start : start + size].reshape(shape))
        start += size
    return blocks


def _weight_shape(product: TensorProduct, ins: Instruction) -> tuple[int, ...]:
    """The extents of the weights of a path."""
    extents = dict(zip("uvw", (irrep.mul for irrep in product.irreps_of(ins)), strict=True))
    return tuple(extents[letter] for letter in _LETTERS[ins.mode])


def _flat_weights(found: Magnitudes, node: Node, product: TensorProduct) -> Array:
    """The size of every weight: of a parameter, or of a last layer's output for unit inputs."""
    total = sum(product.weight_sizes())
    operation = node.operation
    if isinstance(operation, Convolution) and operation.radial is not None:
        radial = operation.radial
        last = found.parameters.get(operation.by_name(node.inputs)["last"])
        return _column_norms(last, (radial.num_hidden, radial.num_weights), radial.columns, total)
    w = product_inputs(node)[2]
    if w is None:
        return np.ones(total)
    if w in found.parameters:
        return np.abs(found.parameters[w])
    if found.is_measured and w in found.sizes:
        return np.concatenate(found.sizes[w])
    source = found.graph.node(w)
    if isinstance(source.operation, ScalarMLP):
        sizes, columns = source.operation.sizes, source.operation.columns
        last = found.parameters.get(source.inputs[-1])
        return _column_norms(last, (sizes[-2], sizes[-1]), columns, total)
    return np.concatenate(found.sizes[w]) if w in found.sizes else np.ones(total)


def _column_norms(
    last: Array | None, shape: tuple[int, int], ranges: tuple[tuple[int, int], ...], total: int
) -> Array:
    """Root mean squares of the columns of a last layer."""
    if last is None:
        return np.ones(total)
    norms = np.sqrt((last.reshape(shape) ** 2).mean(axis=0))
    return np.concatenate([norms[a:b] for a, b in ranges or ((0, shape[1]),)])
