"""Cut channels out of a graph and its parameters.

In: a graph, values of its parameters, and the channels of each segment that stay, which are whole
classes (`channels`). Out: both, smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tvm_equi.graph.channels import product_inputs
from tvm_equi.graph.compact import Array, Values, cut_columns
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Convolution,
    Instruction,
    Linear,
    Operation,
    Parameter,
    ScalarMLP,
    Slice,
    TensorProduct,
)
from tvm_equi.graph.operations.products import num_weights
from tvm_equi.graph.types import IrrepsText, format_irreps, parse_irreps

Kept = Mapping[tuple[str, int], tuple[int, ...]]
Indices = NDArray[np.int64]

_LETTERS = {"uvw": "uvw", "uvu": "uv", "uvv": "uv", "uuu": "u"}


def cut_channels(
    graph: TensorProductGraph, values: Mapping[str, Array], kept: Kept
) -> tuple[TensorProductGraph, Values]:
    """The graph with some channels, and its parameters.

    Args:
        graph: to cut.
        values: of its parameters.
        kept: the channels of each segment that stay.
    """
    state = _Cut(graph, dict(values), kept)
    operations = {node.name: state.operation(node) for node in graph.nodes}
    nodes = []
    for node in graph.nodes:
        operation: Operation = state.changed.get(node.name, operations[node.name])
        if isinstance(operation, Parameter):
            operation = replace(operation, size=len(state.values[node.name]))
        nodes.append(replace(node, operation=operation))
    return TensorProductGraph(tuple(nodes), graph.outputs), state.values


class _Cut:
    """Cuts operations one by one; `changed` holds perceptrons whose last layer was cut."""

    def __init__(self, graph: TensorProductGraph, values: Values, kept: Kept) -> None:
        self.graph = graph
        self.values = values
        self.kept = kept
        self.changed: dict[str, ScalarMLP] = {}

    def operation(self, node: Node) -> Operation:
        """The smaller form of a node's operation; its weights are cut on the way."""
        match node.operation:
            case Linear() as linear:
                return self.linear(node, linear)
            case TensorProduct() as product:
                smaller, indices = self.product(node, product)
                self.weights(node.inputs[2:], indices)
                return smaller
            case Convolution() as convolution:
                return self.convolution(node, convolution)
            case Slice(parts=parts):
                source = node.inputs[0]
                return Slice(tuple(self.part(source, *part) for part in parts))
            case _:
                return node.operation

    def part(self, source: str, segment: int, start: int, end: int) -> tuple[int, int, int]:
        """A part of a value that has fewer channels."""
        if (source, segment) not in self.kept:
            return segment, start, end
        channels = self.kept[source, segment]
        return segment, sum(u < start for u in channels), sum(u < end for u in channels)

    def irreps(self, name: str, irreps: str) -> IrrepsText:
        """The irreps of a value with fewer channels."""
        segments = parse_irreps(irreps)
        return format_irreps(
            tuple(
                replace(irrep, mul=len(self.kept[name, number]))
                for number, irrep in enumerate(segments)
            )
        )

    def linear(self, node: Node, linear: Linear) -> Linear:
        """A linear layer, whose parameters are cut."""
        x, weight = node.inputs[:2]
        indices, start = [], 0
        for path, size in zip(linear.paths, linear.weight_sizes(), strict=True):
            channels = (self.kept[x, path.i_in], self.kept[node.name, path.i_out])
            shape = [
                parse_irreps(linear.irreps_in)[path.i_in].mul,
                parse_irreps(linear.irreps_out)[path.i_out].mul,
            ]
            indices.append(start + _chosen(shape, channels))
            start += size
        if weight in self.values:
            self.values[weight] = self.values[weight][_joined(indices)]
        if linear.biases and node.inputs[2] in self.values:
            biases, start = [], 0
            for segment, size in zip(linear.biases, linear.bias_sizes(), strict=True):
                biases.append(start + np.array(self.kept[node.name, segment], dtype=np.int64))
                start += size
            self.values[node.inputs[2]] = self.values[node.inputs[2]][_joined(biases)]
        return replace(
            linear,
            irreps_in=self.irreps(x, linear.irreps_in),
            irreps_out=self.irreps(node.name, linear.irreps_out),
        )

    def product(self, node: Node, product: TensorProduct) -> tuple[TensorProduct, Indices]:
        """A product, and which of its weights stay."""
        x, y, _ = product_inputs(node)
        indices, start = [], 0
        for ins, size in zip(product.instructions, product.weight_sizes(), strict=True):
            if size:
                indices.append(start + self.path_weights(node, product, ins))
            start += size
        smaller = replace(
            product,
            irreps_in1=self.irreps(x, product.irreps_in1),
            irreps_in2=product.irreps_in2 if y is None else self.irreps(y, product.irreps_in2),
            irreps_out=self.irreps(node.name, product.irreps_out),
        )
        return smaller, _joined(indices)

    def path_weights(self, node: Node, product: TensorProduct, ins: Instruction) -> Indices:
        """Which of the weights of a path stay."""
        x, y, _ = product_inputs(node)
        left, right, out = product.irreps_of(ins)
        if ins.mode not in _LETTERS:
            return np.arange(num_weights(ins, left.mul, right.mul, out.mul))
        channels = {
            "u": self.kept[x, ins.i_in1],
            "v": tuple(range(right.mul)) if y is None else self.kept[y, ins.i_in2],
            "w": self.kept[node.name, ins.i_out],
        }
        extents = {"u": left.mul, "v": right.mul, "w": out.mul}
        letters = _LETTERS[ins.mode]
        return _chosen([extents[n] for n in letters], [channels[n] for n in letters])

    def convolution(self, node: Node, convolution: Convolution) -> Convolution:
        """A convolution, whose parameters are cut."""
        product, indices = self.product(node, convolution.product)
        radial = convolution.radial
        if radial is None:
            self.weights([w for w in product_inputs(node)[2:] if w is not None], indices)
        elif len(indices) != radial.num_columns:
            last = convolution.by_name(node.inputs)["last"]
            self.values[last] = cut_columns(self.values[last], radial.num_hidden, indices)
            radial = replace(radial, num_weights=len(indices))
        return replace(convolution, product=product, radial=radial)

    def weights(self, names: Sequence[str], indices: Indices) -> None:
        """Cuts the weights of a product: a parameter, or what a perceptron gives."""
        for name in names:
            kind = self.graph.types[name]
            operation = self.graph.node(name).operation
            if len(indices) == kind.dim:  # type: ignore[union-attr]
                continue
            if name in self.values:
                self.values[name] = self.values[name][indices]
            elif isinstance(operation, ScalarMLP):
                last = self.graph.node(name).inputs[-1]
                self.values[last] = cut_columns(self.values[last], operation.sizes[-2], indices)
                sizes = (*operation.sizes[:-1], len(indices))
                self.changed[name] = replace(operation, sizes=sizes)


def _chosen(shape: Sequence[int], channels: Iterable[Sequence[int]]) -> Indices:
    """The flat indices of some channels along each axis."""
    grid = np.ix_(*(np.array(kept, dtype=np.int64) for kept in channels))
    return np.asarray(np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)[grid].reshape(-1))


def _joined(indices: Sequence[Indices]) -> Indices:
    """All indices in a row."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *indices])
