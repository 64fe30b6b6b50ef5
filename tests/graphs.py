"""Graphs that tests compile."""

from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.instructions import channelwise


def convolution() -> TensorProductGraph:
    """One interaction layer, part of it unread."""
    build = GraphBuilder()
    x = build.input("x", "2x0e+2x1o", rows="node")
    vectors = build.input("vectors", "1o", rows="edge")
    senders = build.index("senders", rows="edge", into="node")
    receivers = build.index("receivers", rows="edge", into="node")
    y = build.spherical_harmonics("y", vectors, (0, 1))
    basis = build.radial_basis("basis", build.norm("length", vectors), 4, cutoff=6.0)
    out, instructions = channelwise("2x0e+2x1o", "0e+1o", "0e+1o")
    w = build.mlp("fc", basis, [4, 2 * len(instructions)])
    sent = build.gather("sent", x, senders)
    messages = build.tensor_product("tp", sent, y, out, instructions, weights=w)
    total = build.scatter_sum("total", messages, receivers, factor=0.5)
    return build.graph(build.sum("energy", build.linear("z", total, "1x0e")))


def two_layers() -> TensorProductGraph:
    """Two interaction layers, so that gradients go to senders and to receivers."""
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="node")
    vectors = build.input("vectors", "1o", rows="edge")
    i, j = (build.index(name, rows="edge", into="node") for name in ("senders", "receivers"))
    y = build.spherical_harmonics("y", vectors, (0, 1, 2))
    basis = build.radial_basis("basis", build.norm("length", vectors), 4, cutoff=6.0)
    for layer in range(2):
        out, paths = channelwise(build.value(x).irreps, "0e+1o+2e", "0e+1o")
        w = build.mlp(f"{layer}.fc", basis, [4, 5, 2 * len(paths)])
        sent = build.gather(f"{layer}.sent", x, i)
        build.tensor_product(f"{layer}.tp", sent, y, out, paths, weights=w)
        total = build.scatter_sum(f"{layer}.total", f"{layer}.tp", j, factor=0.5)
        x = build.linear(f"{layer}.mix", total, "2x0e+2x1o")
    return build.graph(build.sum("energy", build.linear("z", x, "1x0e")))
