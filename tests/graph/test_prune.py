"""Pruning keeps the function and its symmetry, does nothing twice, and drops what it should."""

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st

from tvm_equi.graph import GraphBuilder, TensorProductGraph, interpret
from tvm_equi.graph.gate import add_gate, gate_irreps
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.liveness import demand
from tvm_equi.graph.operations import ScalarMLP, Slice, SymmetricContraction, TensorProduct
from tvm_equi.graph.prune import Prune

prune = Prune()


@pytest.fixture(autouse=True, scope="module")
def _float64() -> object:
    """e3nn's rotation matrices are only as exact as the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def random_arrays(graph: TensorProductGraph, seed: int, nodes: int = 4, edges: int = 7) -> dict:
    """Arrays for the inputs and parameters of a graph."""
    rng = np.random.default_rng(seed)
    counts = {"node": (nodes,), "edge": (edges,), "graph": (2,), "shared": ()}
    arrays = {}
    for name in (*graph.inputs, *graph.parameters):
        kind = graph.types[name]
        if hasattr(kind, "into"):
            arrays[name] = rng.integers(0, counts[kind.into][0], counts[kind.rows])
        else:
            arrays[name] = rng.normal(size=(*counts[kind.rows], kind.dim))
    return arrays


def assert_same_function(graph: TensorProductGraph, seed: int = 0) -> TensorProductGraph:
    pruned = prune(graph)
    assert prune(pruned) == pruned
    arrays = random_arrays(graph, seed)
    before, after = interpret(graph, arrays), interpret(pruned, arrays)
    for name in graph.outputs:
        np.testing.assert_allclose(after[name], before[name], atol=1e-9, rtol=1e-9)
    assert pruned.inputs == graph.inputs
    return pruned


def test_path_into_a_segment_that_nobody_reads() -> None:
    build = GraphBuilder()
    x = build.input("x", "4x0e+4x1o", rows="edge")
    y = build.input("y", "0e+1o", rows="edge")
    basis = build.input("basis", "5x0e", rows="edge")
    out, instructions = channelwise("4x0e+4x1o", "0e+1o", "0e+1o+1e")
    w = build.mlp("fc", basis, [5, 3, 4 * len(instructions)])
    t = build.tensor_product("t", x, y, out, instructions, weights=w)
    z = build.linear("z", t, "2x0e")
    graph = build.graph(z)
    wanted = demand(graph)
    assert wanted["t"] == {
        k for k, irrep in enumerate(o3.Irreps(out)) if irrep.ir == o3.Irrep("0e")
    }
    pruned = assert_same_function(graph)
    product = pruned.node("t").operation
    assert isinstance(product, TensorProduct)
    assert product.irreps_out == "4x0e+4x0e"
    assert pruned.types["t"].irreps == "4x0e+4x0e"
    perceptron = pruned.node("fc").operation
    assert isinstance(perceptron, ScalarMLP)
    assert perceptron.num_columns == 8
    assert pruned.types["fc.layer1.weight"] == graph.types["fc.layer1.weight"]
    assert len(pruned.nodes) == len(graph.nodes)


def test_zero_paths_and_the_weights_of_a_parameter() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x0e+2x1o", rows="node")
    v = build.input("v", "1o", rows="node")
    paths = [
        (0, 0, 0, "uvu", True, 1.0),  # forbidden: 0 x 1 has no 0
        (1, 0, 0, "uvu", True, 1.0),
        (1, 0, 1, "uvu", True, 1.0),  # forbidden: 1o x 1o is even
        (0, 0, 1, "uvu", True, 0.0),  # coefficient zero
        (1, 0, 0, "uvu", True, 2.0),
    ]
    graph = build.graph(build.tensor_product("t", x, v, "2x0e+2x1o", paths))
    pruned = assert_same_function(graph)
    product = pruned.node("t").operation
    assert isinstance(product, TensorProduct)
    assert [(ins.i_in1, ins.i_out) for ins in product.instructions] == [(1, 0), (1, 0)]
    weights = pruned.node("t.weight.kept").operation
    assert weights == Slice(((0, 2, 4), (0, 8, 10)))
    assert pruned.types["t.weight"].dim == 10


def test_operations_nobody_reads_go_and_inputs_stay() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x1o", rows="node")
    build.input("extra", "2x1o", rows="node")
    build.linear("unread", x, "2x1o")
    graph = build.graph(build.norm("n", x))
    assert [node.name for node in prune(graph).nodes] == ["x", "extra", "n"]


def test_last_gate_of_a_model_loses_its_vectors() -> None:
    build = GraphBuilder()
    x = build.input("x", "4x0e+2x1o", rows="node")
    mixed = build.linear("mix", x, gate_irreps("4x0e", "2x1o"))
    gated = add_gate(build, "gate", mixed, "4x0e", "2x1o")
    graph = build.graph(build.sum("energy", build.linear("read", gated, "1x0e")))
    pruned = assert_same_function(graph)
    assert pruned.types["mix"].irreps == "4x0e"
    assert "gate.product" not in pruned.types


def test_sums_of_values_with_other_segments_are_aligned() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x0e+2x1o", rows="node")
    both = build.combine("both", (1, x), (2, build.linear("lin", x, "2x0e+2x1o")))
    graph = build.graph(build.linear("z", both, "1x0e"))
    pruned = assert_same_function(graph)
    assert pruned.types["both"].irreps == "2x0e"
    assert pruned.types["lin"].irreps == "2x0e"


def test_shared_perceptron_is_sliced_not_shrunk() -> None:
    build = GraphBuilder()
    x, y = build.input("x", "2x0e+2x1o", rows="edge"), build.input("y", "1o", rows="edge")
    w = build.mlp("fc", build.input("b", "3x0e", rows="edge"), [3, 4])
    paths = [(0, 0, 1, "uvu", True, 1.0), (1, 0, 0, "uvu", True, 1.0)]
    for name in ("t", "s"):
        build.tensor_product(name, x, y, "2x0e+2x1o", paths, weights=w)
    graph = build.graph(build.linear("z", "t", "1x0e"), "s")
    pruned = assert_same_function(graph)
    assert pruned.types["fc"].dim == 4
    assert pruned.node("t").inputs[2] == "t.weight"


@pytest.mark.parametrize("weights", ["row", "shared"])
def test_outputs_of_a_symmetric_contraction(weights: str) -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="node")
    operation = SymmetricContraction("2x0e+2x1o", "2x0e+2x1o+2x2e", 2, weights)
    size = operation.num_weights()
    if weights == "row":
        w = build.linear("w", build.input("species", "3x0e", rows="node"), f"{size}x0e")
    else:
        w = build.parameter("w", size)
    made = build.add("sc", operation, x, w)
    graph = build.graph(build.linear("z", build.slice("some", made, [(2, 0, 2)]), "1x2e"))
    pruned = assert_same_function(graph)
    assert pruned.node("sc").operation.irreps_out == "2x2e"
    assert pruned.types[pruned.node("sc").inputs[1]].dim < size


IRREPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["0e", "0o", "1o", "1e", "2e"])),
    min_size=1,
    max_size=3,
).map(lambda items: "+".join(f"{mul}x{ir}" for mul, ir in items))


@st.composite
def graphs(draw: st.DrawFn) -> TensorProductGraph:
    """Chains of products and linear layers on edges, summed to nodes, some of it unread."""
    build = GraphBuilder(layout=draw(st.sampled_from(["mul_ir", "ir_mul"])))
    nodes = build.input("nodes", draw(IRREPS), rows="node")
    i = build.index("i", rows="edge", into="node")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(3))
    basis = build.input("basis", "2x0e", rows="edge")
    x = build.gather("x", nodes, i)
    made = [x]
    for number in range(draw(st.integers(1, 3))):
        x = draw(st.sampled_from(made))
        kind = draw(st.sampled_from(["product", "linear", "concat"]))
        if kind == "linear":
            made.append(build.linear(f"lin{number}", x, draw(IRREPS), biases=draw(st.booleans())))
        elif kind == "concat":
            made.append(build.concat(f"cat{number}", x, draw(st.sampled_from(made))))
        else:
            irreps = build.value(x).irreps
            out, paths = channelwise(irreps, build.value(y).irreps, draw(IRREPS))
            count = sum(build.value(x).segments[path[0]].mul for path in paths)
            w = None
            if count and draw(st.booleans()):
                w = build.mlp(f"fc{number}", basis, [2, 3, count])
            made.append(build.tensor_product(f"tp{number}", x, y, out, paths, weights=w))
    last = build.scatter_sum("sum", made[-1], i)
    read = build.linear("read", last, draw(IRREPS))
    return build.graph(read, *draw(st.lists(st.sampled_from(made[1:]), max_size=1)))


@given(graphs(), st.integers(0, 100))
def test_keeps_the_function(graph: TensorProductGraph, seed: int) -> None:
    assert_same_function(graph, seed)


@given(graphs(), st.integers(0, 100), st.booleans())
def test_keeps_the_symmetry(graph: TensorProductGraph, seed: int, inverted: bool) -> None:
    pruned = prune(graph)
    arrays = random_arrays(graph, seed)
    rotation = o3.rand_matrix(dtype=torch.float64) * (-1 if inverted else 1)
    turned = dict(arrays)
    for name in graph.inputs:
        kind = graph.types[name]
        if not hasattr(kind, "into"):
            turned[name] = arrays[name] @ transform(kind, rotation).T
    before, after = interpret(pruned, arrays), interpret(pruned, turned)
    for name in pruned.outputs:
        expected = before[name] @ transform(pruned.types[name], rotation).T
        np.testing.assert_allclose(after[name], expected, atol=1e-9, rtol=1e-6)


def transform(kind: object, rotation: object) -> np.ndarray:
    """The matrix by which a value turns, in its layout."""
    irreps = o3.Irreps(kind.irreps)
    blocks = [
        np.kron(np.eye(mul), ir.D_from_matrix(rotation).numpy())
        if kind.layout == "mul_ir"
        else np.kron(ir.D_from_matrix(rotation).numpy(), np.eye(mul))
        for mul, ir in irreps
    ]
    total = np.zeros((irreps.dim, irreps.dim))
    start = 0
    for block in blocks:
        end = start + len(block)
        total[start:end, start:end] = block
        start = end
    return total
