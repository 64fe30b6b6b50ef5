"""Fold what depends on parameters alone into parameters, for a model that is no longer trained.

    m = ComposedWeights(a, b)                   m: a parameter, computed once
    z = Linear(x, m), paths times 0.25    ->    z = Linear(x, m), paths times 1
    s = Linear(ScatterSum(x, factor 0.1))       s = Linear(ScatterSum(x)), weights times 0.1

In: a graph and values of its parameters. Out: both. Weights made of weights (`order` merges layers
so), slices of parameters, and the constant factors of paths and sums become numbers of new
parameters, named as the nodes were; the parameters that they were made of are gone where nothing
else reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tvm_equi.graph.compact import Array, Values
from tvm_equi.graph.dtypes import graph_dtype
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.interpret import interpret
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Linear,
    Parameter,
    ScatterSum,
    TensorProduct,
)
from tvm_equi.graph.rewriting import View, without_unread
from tvm_equi.graph.types import ValueType


def freeze(
    graph: TensorProductGraph, parameters: Mapping[str, Any]
) -> tuple[TensorProductGraph, Values]:
    """The graph with constants folded, and the values of its parameters.

    Args:
        graph: to fold.
        parameters: values by name; more than the graph's are ignored.
    """
    values = {
        name: np.asarray(parameters[name], dtype=np.float64).reshape(-1)
        for name in graph.parameters
    }
    graph, values = _evaluated(graph, values)
    graph = _without_sum_factors(graph)
    graph, values = _with_unit_paths(graph, values)
    return graph, {name: values[name] for name in graph.parameters}


def _evaluated(graph: TensorProductGraph, values: Values) -> tuple[TensorProductGraph, Values]:
    """Parameters in place of everything that is made of parameters alone."""
    constant = set(values)
    for node in graph.nodes:
        if node.inputs and all(name in constant for name in node.inputs):
            constant.add(node.name)
    made = [node.name for node in graph.nodes if node.name in constant - set(values)]
    made = [name for name in made if name not in graph.outputs]
    if not made:
        return graph, values
    inner = tuple(node for node in graph.nodes if node.name in constant)
    alive = interpret(TensorProductGraph(inner, tuple(made)), values)
    dtype = graph_dtype(graph)
    nodes = tuple(
        Node(node.name, Parameter(len(alive[node.name]), dtype)) if node.name in made else node
        for node in graph.nodes
    )
    before = View.of(graph.nodes, graph.outputs)
    return without_unread(TensorProductGraph(nodes, graph.outputs), before), {**values, **alive}


def _without_sum_factors(graph: TensorProductGraph) -> TensorProductGraph:
    """Factors of sums that one linear layer reads, in the layer's paths."""
    view = View.of(graph.nodes, graph.outputs)
    changed: dict[str, Node] = {}
    for node in graph.nodes:
        if not isinstance(node.operation, Linear):
            continue
        source = view.nodes[node.inputs[0]]
        if isinstance(source.operation, ScatterSum) and view.is_read_once(source.name):
            factor = source.operation.factor
            paths = tuple(
                path._replace(coefficient=path.coefficient * factor)
                for path in node.operation.paths
            )
            changed[source.name] = replace(source, operation=ScatterSum(1.0))
            changed[node.name] = replace(node, operation=replace(node.operation, paths=paths))
    nodes = tuple(changed.get(node.name, node) for node in graph.nodes)
    return TensorProductGraph(nodes, graph.outputs)


def _with_unit_paths(
    graph: TensorProductGraph, values: Values
) -> tuple[TensorProductGraph, Values]:
    """Factors of paths in the parameters that they multiply."""
    view = View.of(graph.nodes, graph.outputs)
    values = dict(values)
    nodes = []
    for node in graph.nodes:
        slot = 1 if isinstance(node.operation, Linear) else 2
        is_weighted = isinstance(node.operation, Linear | TensorProduct)
        name = node.inputs[slot] if is_weighted and len(node.inputs) > slot else ""
        if name in values and view.is_read_once(name) and _is_parameter(graph, name):
            node, values[name] = _folded(node, values[name])
        nodes.append(node)
    return TensorProductGraph(tuple(nodes), graph.outputs), values


def _is_parameter(graph: TensorProductGraph, name: str) -> bool:
    """Whether a value is a parameter."""
    is_value = isinstance(graph.types[name], ValueType)
    return is_value and isinstance(graph.node(name).operation, Parameter)


def _folded(node: Node, weights: Array) -> tuple[Node, Array]:
    """A node whose weighted paths have the factor 1, and its weights with what they had."""
    operation = node.operation
    if isinstance(operation, Linear):
        factors = [path.coefficient for path in operation.paths]
        repeated = np.repeat(factors, operation.weight_sizes())
        paths = tuple(path._replace(coefficient=1.0) for path in operation.paths)
        return replace(node, operation=replace(operation, paths=paths)), weights * repeated
    if isinstance(operation, TensorProduct):
        sizes = operation.weight_sizes()
        factors = [ins.coefficient for ins in operation.instructions]
        instructions = tuple(
            replace(ins, coefficient=1.0) if ins.has_weight and ins.coefficient else ins
            for ins in operation.instructions
        )
        smaller = replace(operation, instructions=instructions)
        return replace(node, operation=smaller), weights * np.repeat(factors, sizes)
    return node, weights
