"""The text form: reads back to an equal graph, and refuses all else by name."""

import json
from typing import Any

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder, TensorProductGraph, from_json, to_json
from tvm_equi.graph.instructions import fully_connected
from tvm_equi.graph.operations import (
    OPERATIONS,
    ComposedWeights,
    Convolution,
    Instruction,
    RadialLayer,
    SphericalHarmonics,
    TensorProduct,
    WeightPart,
    WeightTerm,
)
from tvm_equi.graph.types import IrrepsText


def pairs() -> TensorProduct:
    """Scalars of the nodes times scalars of the edges."""
    irreps = IrrepsText("4x0e+2x1o"), IrrepsText("2x1o+1x0e"), IrrepsText("4x0e")
    return TensorProduct(
        *irreps, (Instruction(0, 1, 0, "uvu", False, 1.0),), "none", layout="ir_mul"
    )


def whole() -> TensorProductGraph:
    """A graph with every operation."""
    build = GraphBuilder(dtype="float64", layout="ir_mul")
    build.input("x", "4x0e+2x1o", rows="node")
    build.input("y", "0e+1o", rows="node")
    build.index("i", rows="edge", into="node")
    build.tensor_product("tp", "x", "y", *fully_connected("4x0e+2x1o", "0e+1o", "3x1o"))
    build.linear("lin", "tp", "2x1o+1x0e", biases=True)
    build.gather("g", "lin", "i")
    build.scatter_sum("s", "g", "i", factor=1 / 3)
    build.norm("n", "s")
    build.slice("one", "n", [(0, 0, 1)])
    build.radial_basis("r", "one", 8, cutoff=3.0)
    build.cutoff("k", "one", cutoff=3.0, power=4)
    build.mlp("m", "r", [8, 4])
    build.activation("a", "m", ["tanh"])
    build.combine("c", (1, "a"), (-1, "m"))
    build.concat("cc", "c", "n")
    build.slice("v", "x", [(1, 0, 1)])
    build.spherical_harmonics("sh", "v", range(3))
    build.sum("total", "cc")
    build.slice("e", "v", [(0, 0, 1)])
    build.gather("ge", "e", "i")
    build.gather("gr", "r", "i")
    inside = Convolution(
        TensorProduct(
            IrrepsText("4x0e+2x1o"),
            IrrepsText("1x0e+1x1o"),
            IrrepsText("4x1o"),
            (Instruction(0, 1, 0, "uvu", True, 0.5),),
            "row",
            "ir_mul",
        ),
        0.25,
        RadialLayer(8, 6, ((0, 1), (3, 6))),
        SphericalHarmonics((0, 1), False, "norm"),
    )
    part = WeightPart(0, 0, 48, 6, 1, 3, (8, 2))
    other = WeightPart.whole(1, 4, (2, 3))
    composed = ComposedWeights(((WeightTerm(0.5, "uv,vw->uw", (part, other)),),), 2)
    build.add("weights", composed, build.parameter("m.last", 48), build.parameter("rest", 10))
    build.add("conv", inside, "x", "ge", "gr", build.parameter("last", 48), "i", "i")
    build.convolution("conv2", "x", "g", "i", "i", pairs(), factor=2.0)
    build.symmetric_contraction("sc", "v", "1x0e+1x1o", 3)
    return build.graph("total", "sh", "conv", "conv2", "sc", "weights")


@pytest.mark.parametrize("indent", [None, 2])
def test_reads_back_equal(indent: int | None) -> None:
    graph = whole()
    assert {node.kind for node in graph.nodes} == set(OPERATIONS)
    assert from_json(to_json(graph, indent=indent)) == graph
    assert from_json(to_json(graph)).key() == graph.key()


def test_irreps_may_be_short_in_text() -> None:
    node = {"name": "x", "operation": "Input", "type": {"irreps": "2x0e + 1o", "rows": "node"}}
    graph = from_json(json.dumps({"tvm_equi_graph": 1, "nodes": [node], "outputs": ["x"]}))
    assert str(graph.types["x"]) == "2x0e+1x1o [node]"


def test_inner_parts_may_be_left_out() -> None:
    data = json.loads(to_json(whole()))
    node = next(node for node in data["nodes"] if node["name"] == "conv2")
    assert (node["radial"], node["harmonics"]) == (None, None)
    for key in ("radial", "harmonics"):
        del node[key]
    assert from_json(json.dumps(data)) == whole()


def changed(path: tuple[str | int, ...], value: Any) -> str:
    """The text of the graph with one entry replaced, or removed by `...`."""
    data = json.loads(to_json(whole()))
    target = data
    for key in path[:-1]:
        target = target[key]
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return json.dumps(data)


NODES = [node.name for node in whole().nodes]
X, TP, LIN, M, SH, CONV = (NODES.index(name) for name in ("x", "tp", "lin", "m", "sh", "conv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            changed(("nodes", CONV, "radial", "num_hidden"), "8"),
            f'graph: nodes[{CONV}].radial.num_hidden: expected a whole number, got "8"',
        ),
        (
            changed(("nodes", CONV, "radial", "num_hidden"), 0),
            f"graph: nodes[{CONV}].radial: num_hidden: expected at least 1, got 0",
        ),
        ("{", "graph: text: expected JSON, got: Expecting property name"),
        ("[]", "graph: expected an object, got []"),
        ('{"outputs": [], "outputs": []}', "graph: outputs: expected the key once, got it twice"),
        (changed(("tvm_equi_graph",), ...), "graph: tvm_equi_graph: expected a value, got none"),
        (
            changed(("tvm_equi_graph",), 2),
            "graph: tvm_equi_graph: expected version 1, got 2; update",
        ),
        (
            changed(("tvm_equi_graph",), "1"),
            'graph: tvm_equi_graph: expected a whole number, got "1"',
        ),
        (changed(("outputs",), "total"), 'graph: outputs: expected a list, got "total"'),
        (changed(("outputs", 0), 1), "graph: outputs[0]: expected a text, got 1"),
        (changed(("outputs", 0), "totl"), "graph: outputs: expected one of"),
        (changed(("nodes",), {}), "graph: nodes: expected a list, got {}"),
        (changed(("nodes", X), 1), "graph: nodes[0]: expected an object, got 1"),
        (
            changed(("output",), []),
            "graph: key: expected one of 'nodes', 'outputs', 'tvm_equi_graph'",
        ),
        (changed(("nodes", X, "name"), 3), "graph: nodes[0].name: expected a text, got 3"),
        (
            changed(("nodes", X, "operation"), "Inputs"),
            "graph: nodes[0].operation: expected one of",
        ),
        (changed(("nodes", X, "operation"), [1]), "graph: nodes[0].operation: expected one of"),
        (changed(("nodes", X, "type"), ...), "graph: nodes[0]: type: expected a value, got none"),
        (
            changed(("nodes", X, "type", "row"), "node"),
            "graph: nodes[0].type: key: expected one of 'dtype', 'irreps', 'layout', 'rows', "
            "got 'row'; did you mean 'rows'?",
        ),
        (
            changed(("nodes", X, "type", "rows"), "nodes"),
            "graph: nodes[0].type.rows: expected one of",
        ),
        (
            changed(("nodes", X, "type", "irreps"), "2x0q"),
            "graph: nodes[0].type.irreps: expected e3nn's notation such as",
        ),
        (
            changed(("nodes", TP, "instruction"), []),
            f"graph: nodes[{TP}]: key: expected one of 'inputs', 'instructions'",
        ),
        (
            changed(("nodes", TP, "instructions", 1, 4), 1),
            f"graph: nodes[{TP}].instructions[1][4]: expected true or false, got 1",
        ),
        (
            changed(("nodes", TP, "instructions", 0), [0, 0]),
            f"graph: nodes[{TP}].instructions[0]: expected 6 items, got [0, 0]",
        ),
        (
            changed(("nodes", TP, "instructions", 0, 0), 9),
            "node 'tp' (TensorProduct): instructions[0].i_in1: expected 0 or more and below 2, "
            "got 9",
        ),
        (
            changed(("nodes", TP, "instructions", 0, 0), True),
            f"graph: nodes[{TP}].instructions[0][0]: expected a whole number, got true",
        ),
        (
            changed(("nodes", TP, "instructions", 0, 5), float("nan")),
            f"graph: nodes[{TP}].instructions[0][5]: expected a finite number, got NaN",
        ),
        (
            changed(("nodes", LIN, "layout"), "mulir"),
            f"graph: nodes[{LIN}].layout: expected one of 'ir_mul', 'mul_ir', got 'mulir'; did you",
        ),
        (changed(("nodes", M, "sizes"), [8]), f"graph: nodes[{M}]: sizes: expected two or more"),
        (
            changed(("nodes", SH, "degrees"), [-1]),
            f"graph: nodes[{SH}]: degrees: expected 0 or more",
        ),
        (
            changed(("nodes", LIN, "inputs"), ["tp"]),
            "node 'lin' (Linear): inputs: expected 3 (x, w, b), got 1",
        ),
        (
            changed(("nodes", LIN, "inputs"), ["tp", "later", "lin.bias"]),
            "node 'lin' (Linear): inputs: expected nodes that come before it, got 'later'",
        ),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(GraphError) as error:
        from_json(text)
    assert str(error.value).startswith(message)


def test_any_depth_of_lists() -> None:
    for depth in range(800, 1100):
        text = '{"tvm_equi_graph":1,"outputs":[],"nodes":' + "[" * depth + "]" * depth + "}"
        with pytest.raises(GraphError):
            from_json(text)
