"""Every operation of a value, its type, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
from e3nn import o3

from tvm_equi.errors import GraphError
from tvm_equi.graph import Graph, interpret
from tvm_equi.graph.legs import Index, Value


def started() -> tuple[Value, Value, Index]:
    graph = Graph()
    x = graph.input("x", "4x0e+4x1o", rows="node")
    y = graph.input("y", "0e+1o", rows="node")
    return x, y, graph.index("i", rows="edge", into="node")


def test_every_operation_types_its_value() -> None:
    x, y, i = started()
    length = y.only("1o").norm()
    basis = length.radial_basis(8, cutoff=3.0)
    values = [
        x.tensor_product(y, "3x1o"),
        x.tensor_product(y, "0e+1o", paths="channelwise"),
        x.tensor_product(x, "0e", paths="aligned", weights="none"),
        x.symmetric_contraction("4x0e+4x1o", 2),
        x.linear("2x1o+1x0e", biases=True),
        x.gather(i),
        x.gather(i).scatter(i),
        x.sum(),
        y.only("1o").spherical_harmonics(range(3)),
        basis,
        length.cutoff(3.0),
        basis.mlp(5, 2),
        basis.activation("tanh"),
        x.norm_activation("sigmoid"),
        x.scale(length),
        x.scale(x.norm()),
        x.concat(y, x),
        x + x - 2 * x * 0.5,
        x.linear("2x0e+3x0e+3x1o").gate(),
        x.linear("3x0e+3x1o").gate(),
    ]
    assert [str(value.type) for value in values] == [
        "3x1o [node]",
        "4x0e+4x0e+4x1o+4x1o [node]",
        "4x0e+4x0e [node]",
        "4x0e+4x1o [node]",
        "2x1o+1x0e [node]",
        "4x0e+4x1o [edge]",
        "4x0e+4x1o [node]",
        "4x0e+4x1o [shared]",
        "1x0e+1x1o+1x2e [node]",
        "8x0e [node]",
        "1x0e [node]",
        "2x0e [node]",
        "8x0e [node]",
        "4x0e+4x1o [node]",
        "4x0e+4x1o [node]",
        "4x0e+4x1o [node]",
        "4x0e+4x1o+1x0e+1x1o+4x0e+4x1o [node]",
        "4x0e+4x1o [node]",
        "2x0e+3x1o [node]",
        "3x1o [node]",
    ]
    assert repr(values[5]) == "gather: 4x0e+4x1o [edge]"
    assert repr(i) == "i: index edge -> node"


def test_weights() -> None:
    x, y, _ = started()
    seen = []

    def made(size: int) -> Value:
        seen.append(size)
        return x.only("0e").mlp(size)

    own = x.tensor_product(y, "2x0e+2x1o", name="own")
    row = x.tensor_product(y, "0e+1o", paths="channelwise", weights=made, name="row")
    given = x.tensor_product(y, "0e+1o", paths="channelwise", weights=made(16), name="given")
    none = x.tensor_product(y, "0e+1o", paths="channelwise", weights="none", name="none")
    graph = x.graph.build(own, row, given, none)
    assert seen == [16, 16]
    assert graph.node("own").inputs == ("x", "y", "own.weight")
    assert graph.node("row").inputs == ("x", "y", "mlp")
    assert graph.node("given").inputs == ("x", "y", "mlp_2")
    assert graph.node("none").inputs == ("x", "y")
    weights = [graph.node(name).operation.weights for name in ("own", "row", "given", "none")]  # type: ignore[union-attr]
    assert weights == ["shared", "row", "row", "none"]


def test_weights_that_are_products_themselves() -> None:
    x, y, _ = started()

    def made(size: int) -> Value:
        return x.tensor_product(y, f"{size}x0e")

    outer = x.tensor_product(y, "0e", paths="channelwise", weights=made)
    graph = x.graph.build(outer)
    assert graph.node("tensor_product_2").inputs == ("x", "y", "tensor_product")
    deep = x.symmetric_contraction(
        "4x0e", 1, weights=lambda size: x.symmetric_contraction("4x0e", 1)
    )
    assert deep.name == "symmetric_contraction_2"


def test_weights_of_a_symmetric_contraction() -> None:
    x, _, _ = started()
    own = x.symmetric_contraction("4x1o", 2, name="own")
    row = x.symmetric_contraction("4x1o", 2, weights=x.only("0e").mlp, name="row")
    given = x.symmetric_contraction("4x1o", 2, weights=x.only("0e").mlp(8), name="given")
    graph = x.graph.build(own, row, given)
    assert str(graph.types["own.weight"]) == "8x0e [shared]"  # x1 and x0 x1, of 4 channels
    assert graph.node("row").inputs == ("x", "mlp")
    assert graph.node("given").inputs == ("x", "mlp_2")


def test_products_are_e3nns() -> None:
    x, y, _ = started()
    paths = [(0, 1, 0, "uvu", True, 2.0), (1, 0, 0, "uvu", True, 3.0)]
    graph = x.graph.build(x.tensor_product(y, "4x1o", paths=paths, name="z"))
    tp = o3.TensorProduct("4x0e+4x1o", "0e+1o", "4x1o", paths)
    found = [instruction.coefficient for instruction in graph.node("z").operation.instructions]  # type: ignore[union-attr]
    assert found == pytest.approx([ins.path_weight for ins in tp.instructions], rel=1e-12)


def test_arithmetic() -> None:
    graph = Graph(dtype="float64")
    x, y = (graph.input(name, "2x0e", rows="node") for name in "xy")
    given = {"x": np.array([[1.0, 2.0]]), "y": np.array([[5.0, 7.0]])}
    outputs = [x + y, x - y, 3 * x, x * 3]
    found = interpret(graph.build(*outputs), given)
    assert [found[value.name].tolist() for value in outputs] == [
        [[6, 9]],
        [[-4, -5]],
        [[3, 6]],
        [[3, 6]],
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, y, i: x.tensor_product(y, "0e", paths="channelwize"),
            "tensor_product: paths: expected one of 'aligned', 'channelwise', 'fully_connected', "
            "got 'channelwize'; did you mean 'channelwise'?",
        ),
        (
            lambda x, y, i: x.tensor_product(y, "0e", weights="none"),
            "node 'tensor_product' (TensorProduct): instructions[0].has_weight: expected true",
        ),
        (
            lambda x, y, i: x.tensor_product(y, "0e", weights="shred"),
            "tensor_product: weights: expected a value of a Graph, got 'shred'",
        ),
        (
            lambda x, y, i: x.tensor_product(
                y, "4x0e", paths=[(5, 0, 0, "uvu", True, 1.0)], weights=lambda size: x
            ),
            "node 'tensor_product' (TensorProduct): instructions[0].i_in1: expected 0 or more and "
            "below 2, got 5",
        ),
        (
            lambda x, y, i: x.gather(i).tensor_product(y, "4x0e"),
            "node 'tensor_product' (TensorProduct): y: expected rows 'edge', got 'node'",
        ),
        (
            lambda x, y, i: x.gather(y),
            "node 'gather' (Gather): index: expected an index, got 1x0e+1x1o [node]",
        ),
        (
            lambda x, y, i: x.linear("2x0e+4x0e+3x1o").gate(),
            "node 'gate' (gate): x: expected even scalars, a gate for each other channel, and the "
            "gated irreps, as in 8x0e+6x0e+4x1o+2x2e, got 2x0e+4x0e+3x1o",
        ),
        (
            lambda x, y, i: x.linear("2x0e").gate(),
            "node 'gate' (gate): x: expected even scalars",
        ),
        (
            lambda x, y, i: x.scale(y),
            "node 'scale' (scale): factors: expected 1x0e or 4x0e+4x0e, got 1x0e+1x1o",
        ),
        (
            lambda x, y, i: x.symmetric_contraction("4x0e", 5, weights=lambda size: x),
            "node 'symmetric_contraction' (SymmetricContraction): correlation: expected 1 to 4, go",
        ),
        (
            lambda x, y, i: x.symmetric_contraction("4x0e", 2, weights="none"),
            "symmetric_contraction: weights: expected a value of a Graph, got 'none'",
        ),
        (lambda x, y, i: x.mlp(4), "node 'mlp' (ScalarMLP): x: expected 16 even scalars"),
    ],
)
def test_refusals(call: Callable[[Value, Value, Index], object], message: str) -> None:
    with pytest.raises(GraphError) as error:
        call(*started())
    assert str(error.value).startswith(message)
