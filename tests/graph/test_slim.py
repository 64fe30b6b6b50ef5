"""What goes by norm: paths and channels of a single layer, by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.test_order import graphs as order_graphs
from tests.graph.test_prune import graphs as prune_graphs
from tests.passes import assert_equivariant, random_arrays
from tvm_equi.graph import GraphBuilder, TensorProductGraph, interpret
from tvm_equi.graph.slim import Slim
from tvm_equi.graph.totals import Sizes, total_cost

SIZES = Sizes(nodes=10, edges=10)


def two_layers() -> tuple[TensorProductGraph, dict[str, np.ndarray]]:
    """x -> 4 scalars -> 2 scalars, in which channel 1 in the middle is small."""
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "3x0e+1x1o", rows="node")
    build.linear("a", x, "4x0e+2x1o")
    graph = build.graph(build.linear("z", "a", "2x0e+1x1o"))
    last = np.array([[1, 1], [0.01, 0.02], [1, 1], [1, 1]])
    values = {
        "a.weight": np.concatenate([np.ones(12), [1.0, 1.0]]),
        "z.weight": np.concatenate([last.ravel(), [1, 1]]),
    }
    return graph, values


def test_channels_by_hand() -> None:
    graph, values = two_layers()
    smaller, cut, report = Slim(0.05, sizes=SIZES)(graph, values)
    assert smaller.types["a"].irreps == "3x0e+2x1o"
    assert cut["z.weight"].tolist() == [1.0] * 8
    (gone,) = report.removed
    assert (gone.node, gone.what) == ("a", "1 of the channels of 4x0e")
    assert 0.01 < gone.score < 0.05
    assert report.before == total_cost(graph, SIZES)
    assert report.after.multiply_adds == report.before.multiply_adds - 10 * (3 + 2)
    assert (report.num_before, report.num_after) == (24, 24 - 3 - 2)


def test_the_last_channel_stays_and_multiples_are_kept() -> None:
    graph, values = two_layers()
    assert Slim(0.05, multiple=4)(graph, values)[0].types["a"].irreps == "4x0e+2x1o"
    assert Slim(0.05, channels=False)(graph, values)[0] == graph
    values["z.weight"] = np.concatenate([np.full(8, 1e-9), [1, 1]])
    smaller = Slim(0.0)(graph, values)[0]
    assert smaller == graph


def test_paths_by_hand() -> None:
    graph, values = two_layers()
    values["z.weight"] = np.concatenate([np.full(8, 1e-3), [1, 1]])
    smaller, _, report = Slim(0.1)(graph, values)
    assert smaller.types["a"].irreps == "2x1o"
    assert [item.what for item in report.removed] == ["path 4x0e -> 2x0e"]
    assert smaller.types["z"] == graph.types["z"]


@given(
    st.one_of(order_graphs(), prune_graphs()),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.5]),
    st.booleans(),
)
def test_any_graph_with_zeros(
    graph: TensorProductGraph, seed: int, threshold: float, is_measured: bool
) -> None:
    """Symmetry stays at any threshold; at 0, with sizes that do not depend on data, all does."""
    arrays = random_arrays(graph, seed)
    rng = np.random.default_rng(seed)
    for name in graph.parameters:
        arrays[name] = arrays[name] * (rng.random(arrays[name].shape) < 0.3)
    inputs = {name: arrays[name] for name in graph.inputs}
    smaller, values, _ = Slim(threshold)(graph, arrays, inputs if is_measured else None)
    assert_equivariant(smaller, {**inputs, **values}, seed)
    if threshold == 0.0 and not is_measured:
        wanted, got = interpret(graph, arrays), interpret(smaller, {**inputs, **values})
        for name in graph.outputs:
            scale = max(1.0, float(np.abs(wanted[name]).max(initial=0)))
            np.testing.assert_allclose(got[name], wanted[name], atol=1e-10 * scale)
