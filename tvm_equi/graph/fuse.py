"""Make gather, tensor product and scatter-sum one operation.

    g = Gather(x, senders)
    t = TensorProduct(g, y, w)           ->   s = Convolution(x, y, w, senders, receivers)
    s = ScatterSum(t, receivers)

A linear layer between product and sum acts on channels alone, so it moves behind the sum, where it
runs per node and not per edge:

    l = Linear(TensorProduct(g, y, w))   ->   l.sum = Convolution(x, y, w, senders, receivers)
    s = ScatterSum(l, receivers)              s = Linear(l.sum)

With `radial`, the last layer of a perceptron that gives the weights and nothing else is computed
inside; with `harmonics`, so are spherical harmonics of edge vectors. A value that an output or
another operation needs is never lost: a product is left alone if anything but the sum reads it, and
gathered rows or harmonics stay if anything else reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Activation,
    Convolution,
    Gather,
    Linear,
    RadialLayer,
    ScalarMLP,
    ScatterSum,
    SphericalHarmonics,
    TensorProduct,
)
from tvm_equi.graph.regions import coupling_part
from tvm_equi.graph.rewriting import View, without_unread


@dataclass(frozen=True, slots=True)
class Region:
    """A convolution, and the linear layer that alone reads it, if there is one.

    Args:
        convolution: name of its node.
        linear: name of the layer's node, or None.
    """

    convolution: str
    linear: str | None


def regions(graph: TensorProductGraph) -> tuple[Region, ...]:
    """The convolutions of a graph, in order.

    Args:
        graph: to look at.
    """
    view = View.of(graph.nodes, graph.outputs)
    found = []
    for node in graph.nodes:
        if isinstance(node.operation, Convolution):
            readers = [other for other in graph.nodes if node.name in other.inputs]
            is_layer = view.is_read_once(node.name) and len(readers) == 1
            is_layer = is_layer and isinstance(readers[0].operation, Linear)
            found.append(Region(node.name, readers[0].name if is_layer else None))
    return tuple(found)


_Rule: TypeAlias = Callable[[View, Node], Iterator[Node]]
"""The nodes that take the place of a node, the last of which has its name."""


def is_movable(linear: Linear) -> bool:
    """Whether a linear layer may act after a sum over rows in place of before it."""
    return linear.weights == "shared" and not linear.biases


def _gathered(view: View, name: str) -> TensorProduct | None:
    """The product of that name, if it is of gathered rows, not zero, and read once."""
    node = view.nodes[name]
    if not isinstance(node.operation, TensorProduct) or not view.is_read_once(name):
        return None
    is_gathered = isinstance(view.nodes[node.inputs[0]].operation, Gather)
    return node.operation if is_gathered and coupling_part(node.operation)[0].instructions else None


def _moved(view: View, node: Node) -> Iterator[Node]:
    """A sum of linear layers of a product, as the layers of the sum; other nodes as they are."""
    layers: list[Node] = []
    name = node.inputs[0] if isinstance(node.operation, ScatterSum) else ""
    while name and view.is_read_once(name):
        layer = view.nodes[name]
        if not isinstance(layer.operation, Linear) or not is_movable(layer.operation):
            break
        layers.append(layer)
        name = layer.inputs[0]
    if not layers or _gathered(view, name) is None:
        yield node
        return
    source = view.fresh(f"{name}.sum")
    yield Node(source, node.operation, (name, node.inputs[1]))
    for number, layer in reversed(list(enumerate(layers))):
        target = view.fresh(f"{layer.name}.sum") if number else node.name
        yield Node(target, layer.operation, (source, *layer.inputs[1:]))
        source = target


def _fused(view: View, node: Node) -> Iterator[Node]:
    """A sum of a product of gathered rows, as a convolution; other nodes as they are."""
    product = _gathered(view, node.inputs[0]) if isinstance(node.operation, ScatterSum) else None
    if product is None or not isinstance(node.operation, ScatterSum):
        yield node
        return
    gathered, *others = view.nodes[node.inputs[0]].inputs
    x, senders = view.nodes[gathered].inputs
    inputs = (x, *others, senders, node.inputs[1])
    yield Node(node.name, Convolution(product, node.operation.factor), inputs)


def _with_radial(view: View, node: Node) -> Iterator[Node]:
    """The last layer of a perceptron inside the one convolution that it weighs."""
    convolution = node.operation
    if (
        not isinstance(convolution, Convolution)
        or convolution.radial is not None
        or convolution.product.weights != "row"
    ):
        yield node
        return
    given = dict(convolution.by_name(node.inputs))
    mlp = view.nodes[given["w"]]
    perceptron = mlp.operation
    if not isinstance(perceptron, ScalarMLP) or not view.is_read_once(mlp.name):
        yield node
        return
    given["h"], given["last"] = mlp.inputs[0], mlp.inputs[-1]
    if len(perceptron.sizes) > 2:
        hidden = replace(perceptron, sizes=perceptron.sizes[:-1], columns=())
        inner = Node(view.fresh(f"{mlp.name}.hidden"), hidden, mlp.inputs[:-1])
        applied = Activation((perceptron.function,), (perceptron.factor,))
        given["h"] = view.fresh(f"{mlp.name}.activated")
        yield inner
        yield Node(given["h"], applied, (inner.name,))
    *_, num_hidden, num_weights = perceptron.sizes
    radial = RadialLayer(num_hidden, num_weights, perceptron.columns)
    fused = replace(convolution, radial=radial)
    yield Node(node.name, fused, tuple(given[name] for name in fused.names))


def _with_harmonics(view: View, node: Node) -> Iterator[Node]:
    """Spherical harmonics of edge vectors inside a convolution that reads them."""
    convolution = node.operation
    if isinstance(convolution, Convolution) and convolution.harmonics is None:
        given = dict(convolution.by_name(node.inputs))
        source = view.nodes[given["y"]]
        if isinstance(source.operation, SphericalHarmonics):
            given["vectors"] = source.inputs[0]
            fused = replace(convolution, harmonics=source.operation)
            node = Node(node.name, fused, tuple(given[name] for name in fused.names))
    yield node


@dataclass(frozen=True, slots=True)
class Fuse:
    """The pass.

    Args:
        radial: whether the last layer of a perceptron is computed inside. It saves the memory of
            weights per edge, but no time in the demo's model: a training step on forces (2 layers,
            64 channels, 64 atoms, one thread) takes 23 ms with it, 18 ms without.
        harmonics: whether spherical harmonics are computed inside, in each convolution anew: as
            fast there as once for all layers.
    """

    radial: bool = False
    harmonics: bool = False
    name: str = "fuse"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph with its convolutions as one operation each.

        Args:
            graph: to rewrite.
        """
        rules: list[_Rule] = [_moved, _fused]
        rules += [_with_radial] if self.radial else []
        rules += [_with_harmonics] if self.harmonics else []
        for rule in rules:
            view = View.of(graph.nodes, graph.outputs)
            nodes = tuple(new for node in graph.nodes for new in rule(view, node))
            if nodes != graph.nodes:
                graph = without_unread(TensorProductGraph(nodes, graph.outputs), view)
        return graph
