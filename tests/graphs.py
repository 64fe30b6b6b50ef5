"""Graphs that tests compile."""

from tvm_equi.algebra.contraction import Layout
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.gate import add_gate, gate_irreps
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


def without_kernels(layout: Layout) -> TensorProductGraph:
    """Every operation that needs no kernel."""
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.input("x", "2x0e+3x1o+2x2e", rows="node")
    i = build.index("i", rows="edge", into="node")
    build.gather("g", x, i)
    build.scatter_sum("s", "g", i, factor=0.5)
    build.sum("t", x, factor=2.0)
    build.sum("u", x)
    build.combine("c", (1, x), (-1, "s"), (0.5, x))
    build.slice("contiguous", x, [(1, 1, 3)])
    build.slice("apart", x, [(2, 1, 2), (0, 0, 1)])
    build.slice("nothing", x, [])
    build.concat("cc", "apart", x)
    build.norm("n", "cc")
    build.slice("one", "n", [(0, 0, 1)])
    build.radial_basis("r", "one", 4, cutoff=6.0)
    build.cutoff("k", "one", cutoff=2.0, power=3)
    build.mlp("m", "r", [4, 8, 3], function="tanh")
    build.activation("a", "n", ["silu", "silu", "tanh", "sigmoid", "relu"])
    build.activation("b", "m", ["identity"])
    build.activation("d", "m", ["abs"])
    outputs = [name for name in build.types if name not in ("x", "i") and "weight" not in name]
    return build.graph(*outputs)


def products(layout: Layout) -> TensorProductGraph:
    """Products of every kind, one with a path that is forbidden: 1o x 0e -> 0e."""
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.input("x", gate_irreps("2x0e", "3x1o"), rows="node")
    gated = add_gate(build, "gate", x, "2x0e", "3x1o")
    build.linear("lin", gated, "2x1o+2x0e+1x1o+1x0e", biases=True)
    build.spherical_harmonics("y", build.input("v", "1o", rows="node"), (2, 0, 1, 4))
    paths = [(1, 2, 0, "uvu", True, 1.0), (1, 1, 0, "uvu", True, 1.0), (0, 2, 1, "uvu", True, 1.0)]
    build.tensor_product("tp", gated, "y", "3x0e+2x1o", paths)
    s = build.input("s", "2x0e+2x1o", rows="node")
    build.symmetric_contraction("sc", s, "2x0e+2x1o", 2)
    return build.graph("gate", "lin", "y", "tp", "sc")
