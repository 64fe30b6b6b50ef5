"""Order keeps function and symmetry, never counts more, and chooses as one would by hand."""

from hypothesis import given
from hypothesis import strategies as st

from tests.passes import checked
from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder, TensorProductGraph
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.instructions import channelwise, fully_connected
from tvm_equi.graph.operations import Linear
from tvm_equi.graph.order import Order
from tvm_equi.graph.totals import Sizes, total_cost

order = Order()


def kinds(graph: TensorProductGraph) -> list[str]:
    return [node.kind for node in graph.nodes if node.inputs]


def edges(dtype: str = "float64", layout: str = "mul_ir") -> GraphBuilder:
    """Nodes x, gathered as "sent", harmonics y and a scalar a of edges."""
    build = GraphBuilder(dtype=dtype, layout=layout)
    x = build.input("x", "4x0e+4x1o", rows="node")
    build.index("i", rows="edge", into="node")
    build.index("j", rows="edge", into="node")
    build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(3))
    build.input("a", "0e", rows="edge")
    build.gather("sent", x, "i")
    return build


def test_linear_goes_to_the_rows_that_are_few() -> None:
    build = edges()
    build.linear("l", "sent", "3x0e+2x1o", biases=True)
    build.scatter_sum("s", build.linear("m", "l", "5x0e"), "j")
    after = checked(order, build.graph("s"))
    linear = [node for node in after.nodes if isinstance(node.operation, Linear)]
    assert all(after.types[node.name].rows == "node" for node in linear)
    few_edges = Order(Sizes(nodes=100, edges=3))
    layers = [node for node in few_edges(build.graph("l")).nodes if node.kind == "Linear"]
    assert few_edges(build.graph("l")).types[layers[0].name].rows == "edge"


def test_bottleneck_stays_and_the_rest_is_merged() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "32x0e+32x1o", rows="node")
    narrow = build.linear("wide", build.linear("narrow", x, "2x0e+2x1o"), "32x0e+32x1o")
    assert checked(order, build.graph(narrow)) == build.graph(narrow)
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "32x0e+32x1o", rows="node")
    chain = build.linear("last", build.linear("middle", x, "32x0e+32x1o"), "32x0e+32x1o")
    after = checked(order, build.graph(chain))
    assert kinds(after) == ["ComposedWeights", "Linear"]
    assert order(after) == after
    assert Order(merge=False)(build.graph(chain)) == build.graph(chain)


def test_a_layer_that_narrows_goes_before_the_product_and_one_that_widens_after() -> None:
    build = edges()
    out, paths = channelwise("4x0e+4x1o", "0e+1o+2e", "0e+1o+2e")
    plain = [(i, j, k, mode, False, weight) for i, j, k, mode, _, weight in paths]
    build.linear(
        "z",
        build.tensor_product(
            "t",
            "x",
            build.spherical_harmonics("yn", build.input("vn", "1o", rows="node"), range(3)),
            out,
            plain,
        ),
        "1x0e+1x1o",
    )
    after = checked(order, build.graph("z"))
    assert kinds(after)[-2:] == ["Linear", "TensorProduct"]
    build = GraphBuilder(dtype="float64")
    x, v = build.input("x", "1x0e", rows="node"), build.input("v", "1o", rows="node")
    wide = build.linear("l", x, "64x0e")
    y = build.spherical_harmonics("y", v, (0,))
    graph = build.graph(build.tensor_product("t", wide, y, "64x0e", [(0, 0, 0, "uvu", False, 1)]))
    after = checked(order, graph)
    assert kinds(after)[-2:] == ["TensorProduct", "Linear"]


def test_scalar_of_messages_goes_to_the_harmonics() -> None:
    build = edges()
    out, paths = channelwise("4x0e+4x1o", "0e+1o+2e", "0e+1o+2e")
    w = build.input("w", f"{4 * len(paths)}x0e", rows="edge")
    messages = build.tensor_product("t", "sent", "y", out, paths, weights=w)
    scale = [(k, 0, k, "uvu", False, 1.0) for k in range(len(out.split("+")))]
    scaled = build.tensor_product("sa", build.linear("l", messages, out), "a", out, scale)
    graph = build.graph(build.scatter_sum("s", scaled, "j", factor=0.5))
    after = checked(order, graph)
    scalings = [node for node in after.nodes if node.inputs[1:] == ("a",)]
    assert [after.types[node.name].irreps for node in scalings] == ["1x0e+1x1o+1x2e"]
    assert "Convolution" not in kinds(Fuse()(graph))
    assert kinds(Fuse()(after))[-2:] == ["Convolution", "Linear"]


def test_layers_go_into_the_weights_of_a_product() -> None:
    build = edges()
    left = build.linear("l", "sent", "8x0e+8x1o")
    y = build.linear("m", "y", "8x0e+8x1o")
    out, paths = fully_connected("8x0e+8x1o", "8x0e+8x1o", "8x0e+8x1o")
    product = build.tensor_product("t", left, y, out, paths)
    graph = build.graph(build.linear("z", product, "1x0e+1x1o"))
    after = checked(order, graph)
    layers = [node for node in after.nodes if isinstance(node.operation, Linear)]
    assert [after.types[node.name].rows for node in layers] == ["node"]  # behind the gather
    assert after.node("z").operation.irreps_in2 == "1x0e+1x1o+1x2e"
    assert total_cost(after) < total_cost(graph)


def test_a_planned_model_counts_less_and_fuses() -> None:
    graph = interaction_graph(Settings(8, 2, 2, 2, 3, 8), "float64")
    after = checked(order, graph)
    fused = DEFAULT_PIPELINE(after)
    assert total_cost(after) <= total_cost(graph)
    assert kinds(fused).count("Convolution") == 2
    assert order(fused) == order(order(fused))


IRREPS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(["0e", "1o", "1e"])), min_size=1, max_size=3
).map(lambda items: "+".join(f"{mul}x{ir}" for mul, ir in items))


@st.composite
def graphs(draw: st.DrawFn) -> TensorProductGraph:
    """Chains of layers, products, scalings, gathers and sums."""
    build = edges(layout=draw(st.sampled_from(["mul_ir", "ir_mul"])))
    x, made = "x", []
    for number in range(draw(st.integers(2, 5))):
        name, rows = f"n{number}", build.value(x).rows
        irreps = build.value(x).irreps
        kind = draw(st.sampled_from(["linear", "product", "full", "scale", "rows"]))
        if kind == "linear":
            x = build.linear(name, x, draw(IRREPS), biases=draw(st.booleans()))
        elif kind == "rows":
            move = build.gather if rows == "node" else build.scatter_sum
            x = move(name, x, draw(st.sampled_from("ij")))
        elif rows == "edge" and kind == "scale":
            paths = [(k, 0, k, "uvu", False, 1.0) for k in range(len(irreps.split("+")))]
            x = build.tensor_product(name, x, "a", irreps, paths)
        elif rows == "edge" and kind == "product":
            out, paths = channelwise(irreps, "0e+1o+2e", draw(IRREPS))
            if paths:
                has_weight = draw(st.booleans())
                plain = [(*path[:4], has_weight, 1.0) for path in paths]
                x = build.tensor_product(name, x, "y", out, plain)
        elif rows == "edge":
            out, paths = fully_connected(irreps, build.value("y").irreps, draw(IRREPS))
            x = build.tensor_product(name, x, "y", out, paths) if paths else x
        made.append(x)
    return build.graph(x, *draw(st.lists(st.sampled_from(made), max_size=1)))


@given(graphs(), st.integers(0, 100))
def test_keeps_the_function_and_counts_no_more(graph: TensorProductGraph, seed: int) -> None:
    after = checked(order, graph, seed)
    assert total_cost(after) <= total_cost(graph)


@given(graphs(), st.integers(0, 100), st.data())
def test_every_single_move_is_exact(
    graph: TensorProductGraph, seed: int, data: st.DataObject
) -> None:
    candidates = list(order.candidates(graph))
    if candidates:
        chosen = data.draw(st.sampled_from(candidates))
        checked(lambda given: chosen, graph, seed)
