"""Graphs that have every operation among them, for whoever runs graphs."""

from collections.abc import Callable
from typing import Any

from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.gate import add_gate, gate_irreps
from tvm_equi.graph.operations import ComposedWeights, TensorProduct, WeightPart
from tvm_equi.graph.operations.weights import WeightTerm


def rows_and_scalars(layout: Any) -> TensorProductGraph:
    """What is no product, with factors, and slices that are apart, empty and of one channel."""
    make = GraphBuilder(dtype="float64", layout=layout)
    x = make.input("x", "2x0e+3x1o+2x2e", rows="node")
    i = make.index("i", rows="edge", into="node")
    make.gather("g", x, i)
    make.scatter_sum("s", "g", i, factor=0.5)
    make.combine("c", (1, x), (-1, "s"), (0.5, x))
    make.slice("contiguous", x, [(1, 1, 3)])
    make.slice("apart", x, [(2, 1, 2), (0, 0, 1)])
    make.slice("nothing", x, [])
    make.concat("cc", "apart", "c")
    make.norm("n", "cc")
    make.slice("one", "n", [(0, 0, 1)])
    make.radial_basis("r", "one", 4, cutoff=6.0)
    make.cutoff("k", "one", cutoff=2.0, power=3)
    make.mlp("m", "r", [4, 8, 3], function="tanh")
    make.activation("a", "n", ["silu", "tanh", "sigmoid", "relu", "abs"])
    make.activation("b", "m", ["identity"])
    make.concat("all", "contiguous", "nothing", "cc", "k", "a", "b")
    return make.graph("all", make.sum("total", "all", factor=2.0))


def products(layout: Any) -> TensorProductGraph:
    """What is a product, with weights of every kind of rows, biases, and a path without output."""
    make = GraphBuilder(dtype="float64", layout=layout)
    x = make.input("x", gate_irreps("2x0e", "3x1o"), rows="node")
    gated = add_gate(make, "gate", x, "2x0e", "3x1o")
    make.linear("lin", gated, "2x1o+2x0e", biases=True)
    make.spherical_harmonics("y", make.input("v", "1o", rows="node"), (2, 0, 1, 4))
    paths = [(1, 2, 0, "uvu", True, 1.0), (1, 1, 0, "uvu", True, 1.0), (0, 2, 1, "uvu", True, 1.0)]
    make.tensor_product("tp", gated, "y", "3x0e+2x1o", paths)
    own = make.input("own", "8x0e", rows="node")
    make.tensor_product("rows", gated, "y", "3x0e+2x1o", paths[::2] + paths[1:2], weights=own)
    s = make.input("s", "2x0e+2x1o", rows="node")
    make.symmetric_contraction("sc", s, "2x0e+2x1o", 2)
    make.tensor_product("none", s, s, "2x1o", [(0, 0, 0, "uuu", False, 1.0)])
    make.linear("nothing", s, "2x0e", instructions=[])
    return make.graph(make.concat("all", "gate", "lin", "y", "tp", "rows", "sc", "none", "nothing"))


def convolutions(layout: Any) -> TensorProductGraph:
    """Sums over edges in one step, with weights of edges, shared ones and none."""
    make = GraphBuilder(dtype="float64", layout=layout)
    x = make.input("x", "2x0e+2x1o", rows="node")
    y = make.input("y", "1x0e+1x1o", rows="edge")
    w = make.input("w", "6x0e", rows="edge")
    i, j = (make.index(name, rows="edge", into="node") for name in ("senders", "receivers"))
    raw = [(0, 0, 0, "uvu", True, 1.0), (1, 1, 0, "uvu", True, 1.0), (0, 1, 1, "uvu", True, 1.0)]
    product = products_of(make, x, y, raw, "row")
    make.convolution("edges", x, y, i, j, product, weights=w, factor=0.5)
    shared = make.parameter("shared.weight", 6)
    make.convolution("shared", x, y, i, j, products_of(make, x, y, raw, "shared"), weights=shared)
    bare = [(*path[:4], False, 1.0) for path in raw]
    make.convolution("bare", x, y, i, j, products_of(make, x, y, bare, "none"))
    return make.graph(make.concat("all", "edges", "shared", "bare"))


def products_of(make: GraphBuilder, x: str, y: str, raw: list[Any], rows: Any) -> TensorProduct:
    probe = GraphBuilder(dtype="float64", layout=make.layout)
    left = probe.input("x", make.value(x).irreps, rows="edge")
    right = probe.input("y", make.value(y).irreps, rows="edge")
    weights = probe.input("w", "6x0e", rows="edge") if rows == "row" else None
    name = probe.tensor_product("tp", left, right, "2x0e+2x1o", raw, weights=weights)
    found = probe.graph(name).node(name).operation
    assert isinstance(found, TensorProduct)
    return found


def composed(layout: Any) -> TensorProductGraph:
    """Weights made of weights, as rewriting of graphs leaves them."""
    make = GraphBuilder(dtype="float64", layout=layout)
    x = make.input("x", "3x0e", rows="node")
    left, right = make.parameter("left.weight", 8), make.parameter("right.weight", 6)
    parts = (WeightPart.whole(0, 1, (2, 3)), WeightPart(1, 0, 6, 3, 1, 3, (2, 2)))
    composition = ComposedWeights(((WeightTerm(0.5, "ab,ac->bc", parts),),), 2)
    make.add("mixed", composition, left, right)
    probe = GraphBuilder(dtype="float64", layout=layout)
    linear = probe.linear("lin", probe.input("x", "3x0e", rows="node"), "2x0e")
    make.add("lin", probe.graph(linear).node(linear).operation, x, "mixed")
    return make.graph("lin")


Make = Callable[[Any], TensorProductGraph]
GRAPHS: tuple[Make, ...] = (rows_and_scalars, products, convolutions, composed)
