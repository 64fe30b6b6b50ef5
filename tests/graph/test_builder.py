"""The builder: every method, e3nn's normalisation, and errors at the line that is wrong."""

from collections.abc import Callable

import pytest
from e3nn import o3

from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.instructions import fully_connected
from tvm_equi.graph.operations import Linear, TensorProduct


def started() -> GraphBuilder:
    build = GraphBuilder()
    build.input("x", "4x0e+2x1o", rows="node")
    build.input("y", "0e+1o", rows="node")
    build.index("i", rows="edge", into="node")
    return build


def test_every_method_types_its_node() -> None:
    build = started()
    out, instructions = fully_connected("4x0e+2x1o", "0e+1o", "3x1o")
    build.tensor_product("tp", "x", "y", out, instructions)
    build.linear("lin", "tp", "2x1o+1x0e", biases=True)
    build.gather("g", "lin", "i")
    build.scatter_sum("s", "g", "i", factor=0.5)
    build.norm("n", "s")
    build.slice("one", "n", [(0, 0, 1)])
    build.radial_basis("r", "one", 8, cutoff=3.0)
    build.cutoff("k", "one", cutoff=3.0)
    build.mlp("m", "r", [8, 4])
    build.activation("a", "m", ["tanh"])
    build.combine("c", (1, "a"), (-1, "m"))
    build.concat("cc", "c", "n")
    build.slice("v", "x", [(1, 0, 1)])
    build.spherical_harmonics("sh", "v", range(3))
    build.sum("total", "cc")
    build.symmetric_contraction("sc", "v", "1x0e+1x1o", 3)
    assert {name: str(kind) for name, kind in build.types.items()} == {
        "x": "4x0e+2x1o [node]",
        "y": "1x0e+1x1o [node]",
        "i": "index edge -> node",
        "tp.weight": "18x0e [shared]",
        "tp": "3x1o [node]",
        "lin.weight": "6x0e [shared]",
        "lin.bias": "1x0e [shared]",
        "lin": "2x1o+1x0e [node]",
        "g": "2x1o+1x0e [edge]",
        "s": "2x1o+1x0e [node]",
        "n": "2x0e+1x0e [node]",
        "one": "1x0e [node]",
        "r": "8x0e [node]",
        "k": "1x0e [node]",
        "m.layer0.weight": "32x0e [shared]",
        "m": "4x0e [node]",
        "a": "4x0e [node]",
        "c": "4x0e [node]",
        "cc": "4x0e+2x0e+1x0e [node]",
        "v": "1x1o [node]",
        "sh": "1x0e+1x1o+1x2e [node]",
        "total": "4x0e+2x0e+1x0e [shared]",
        "sc.weight": "3x0e [shared]",
        "sc": "1x0e+1x1o [node]",
    }
    assert build.graph("total").outputs == ("total",)


def test_coefficients_are_e3nns() -> None:
    build = started()
    out, instructions = fully_connected("4x0e+2x1o", "0e+1o", "3x1o")
    build.tensor_product("tp", "x", "y", out, instructions, irrep_normalization="norm")
    build.linear("lin", "x", "2x1o+3x0e")
    graph = build.graph("tp", "lin")
    product, linear = graph.node("tp").operation, graph.node("lin").operation
    assert isinstance(product, TensorProduct)
    assert isinstance(linear, Linear)
    tp = o3.FullyConnectedTensorProduct("4x0e+2x1o", "0e+1o", "3x1o", irrep_normalization="norm")
    found = [ins.coefficient for ins in product.instructions]
    assert found == pytest.approx([ins.path_weight for ins in tp.instructions], rel=1e-12)
    lin = o3.Linear("4x0e+2x1o", "2x1o+3x0e")
    found = [path.coefficient for path in linear.paths]
    assert found == pytest.approx([ins.path_weight for ins in lin.instructions], rel=1e-12)


UVU = [(0, 0, 0, "uvu", True, 1.0)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda b: b.input("x", "0e", rows="node"),
            "node 'x': name: expected a new name that is not empty",
        ),
        (
            lambda b: b.input("", "0e", rows="node"),
            "node '': name: expected a new name that is not empty",
        ),
        (lambda b: b.input("z", "0q", rows="node"), "irreps: expected e3nn's notation such as"),
        (lambda b: b.linear("z", "i", "0e"), "builder: expected the name of a value, got 'i'"),
        (lambda b: b.linear("z", "q", "0e"), "builder: expected the name of a value, got 'q'"),
        (
            lambda b: b.tensor_product("z", "x", "y", "4x0e", [(5, 0, 0, "uvu", True, 1.0)]),
            "node 'z' (TensorProduct): instructions[0].i_in1: expected 0 <= index < 2, got 5",
        ),
        (
            lambda b: b.tensor_product("z", "x", "y", "4x0e", [(0, 0, 0, "uvx", True, 1.0)]),
            "node 'z' (TensorProduct): instructions[0].mode: expected one of 'u<vw'",
        ),
        (
            lambda b: b.tensor_product("z", "x", "y", "3x0e", UVU),
            "node 'z' (TensorProduct): instructions[0].mode: expected mul_in1 = mul_out for 'uvu', "
            "got 4, 1 and 3",
        ),
        (
            lambda b: b.tensor_product("z", "x", "y", "4x0e", UVU, weights="y"),
            "node 'z' (TensorProduct): w: expected 4 even scalars, got 1x0e+1x1o",
        ),
        (
            lambda b: b.tensor_product("z", "x", "y", "4x0e", UVU, path_normalization="elements"),
            "node 'z' (TensorProduct): path_normalization: expected one of 'element', 'none', "
            "'path', got 'elements'; did you mean 'element'?",
        ),
        (
            lambda b: b.tensor_product("z", "x", "y", "4x0e", UVU, in1_var=[1.0]),
            "node 'z' (TensorProduct): in1_var: expected 2 variances, one per irrep, got 1",
        ),
        (
            lambda b: b.linear("z", "x", "2x1o", instructions=[(0, 0)]),
            "node 'z' (Linear): paths[0]: expected one irrep on both sides, got 4x0e and 2x1o",
        ),
        (
            lambda b: b.linear("z", "x", "2x1o", instructions=[(0, 3)]),
            "node 'z' (Linear): instructions[0].i_out: expected 0 <= index < 1, got 3",
        ),
    ],
)
def test_errors_name_the_node(call: Callable[[GraphBuilder], str], message: str) -> None:
    with pytest.raises(GraphError) as error:
        call(started())
    assert str(error.value).startswith(message)


def test_outputs_must_exist() -> None:
    with pytest.raises(GraphError, match="graph: outputs: expected one of"):
        started().graph("z")
