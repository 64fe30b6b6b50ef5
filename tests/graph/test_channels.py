"""Classes of channels: what goes together, and what stays."""

from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder, Pipeline
from tvm_equi.graph.channels import can_cut_weights, channel_classes, weight_home
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.rewriting import View


def test_a_model() -> None:
    graph = DEFAULT_PIPELINE(interaction_graph(Settings(4, 2, 2, 1, 3, 8)))
    classes = channel_classes(graph)
    # A feature's channel, its gate, and every path that it takes to the second convolution.
    (vector,) = {
        root
        for name, k in (("layers.0.gate.gated", 0), ("layers.0.gate.gates", 0))
        for root in classes.roots(name, k)[:1]
    }
    total = graph.types["layers.1.total"].segments
    assert vector in {classes.roots("layers.1.total", k)[0] for k in range(len(total))}
    assert not classes.is_locked(vector)
    assert len(set(classes.roots("layers.0.mixed", 0))) == 4
    assert all(map(classes.is_locked, classes.roots("species", 0)))
    assert all(map(classes.is_locked, classes.roots("energy", 0)))
    assert all(map(classes.is_locked, classes.roots("basis", 0)))


def test_weights_that_can_be_cut() -> None:
    graph = interaction_graph(Settings(4, 2, 2, 1, 3, 8))
    for fuse in (Fuse(), Fuse(radial=True)):
        fused = Pipeline((Prune(), fuse))(graph)
        view = View.of(fused.nodes, fused.outputs)
        assert can_cut_weights(view, fused.node("layers.0.total"))
    view = View.of(graph.nodes, graph.outputs)
    assert weight_home(view, "layers.0.fc") == "mlp"
    assert weight_home(view, "embed.weight") == "parameter"
    assert weight_home(view, "basis") is None


def test_shared_parameters_lock() -> None:
    build = GraphBuilder()
    x = build.input("x", "3x0e", rows="node")
    build.linear("a", x, "3x0e")
    operation = build.graph("a").node("a").operation
    build.add("b", operation, "a", "a.weight")
    build.linear("free", "b", "4x0e")
    build.linear("z", "free", "1x0e")
    classes = channel_classes(build.graph("z"))
    assert all(map(classes.is_locked, classes.roots("a", 0)))
    assert not any(map(classes.is_locked, classes.roots("free", 0)))


def test_slices_concats_and_modes() -> None:
    build = GraphBuilder()
    x = build.linear("l", build.input("x", "4x0e+2x1o", rows="node"), "4x0e+2x1o")
    part = build.slice("part", x, [(0, 1, 3), (1, 0, 2)])
    both = build.concat("both", part, x)
    paths = [
        (0, 0, 0, "uuu", False, 1.0),
        (0, 1, 1, "uvuv", False, 1.0),
        (2, 1, 2, "uvv", False, 1.0),
    ]
    build.tensor_product("t", both, part, "2x0e+4x1o+2x1o", paths)
    classes = channel_classes(build.graph(build.linear("z", "t", "1x0e")))
    roots = classes.roots("l", 0)
    assert classes.roots("part", 0) == roots[1:3] == classes.roots("both", 0)
    assert classes.roots("t", 0) == roots[1:3]
    assert all(map(classes.is_locked, classes.roots("t", 1)))
    assert classes.roots("t", 2) == classes.roots("part", 1)
