"""A convolution in JAX on this CPU: ours, those of e3nn-jax and cuEquivariance-jax, and gradients.

    python -m bench.jax [--nodes 300] [--degree 30] [--repeats 10]

In: sizes. Out: a line for each library that is installed: the shortest of some runs, which on a
machine with other work is all that can be said. Same irreps, paths and weights per edge (MACE
medium); normalisations differ, so that no numbers are compared here.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.instructions import channelwise
from tvm_equi.jax import Topology, from_graph

IN1, IN2, OUT = "128x0e+128x1o", "0e+1o+2e+3o", "0e+1o+2e"

Convolve = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def ours(senders: np.ndarray, receivers: np.ndarray, num_nodes: int) -> tuple[Convolve, int]:
    """One kernel over edges."""
    build = GraphBuilder()
    x, y = build.input("x", IN1, rows="node"), build.input("y", IN2, rows="edge")
    out, paths = channelwise(build.value("x").irreps, build.value("y").irreps, OUT)
    num_weights = 128 * len(paths)
    w = build.input("w", f"{num_weights}x0e", rows="edge")
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    sent = build.gather("sent", x, i)
    messages = build.tensor_product("tp", sent, y, out, paths, weights=w)
    function = from_graph(build.graph(build.scatter_sum("sum", messages, j)))
    topologies = {("i", "j"): Topology(np.stack([senders, receivers]), num_nodes)}

    def convolve(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
        return function({}, x=x, y=y, w=w, i=senders, j=receivers, topologies=topologies)

    return convolve, num_weights


def e3nn_jax(senders: np.ndarray, receivers: np.ndarray, num_nodes: int) -> Convolve:
    """Gather, tensor product, weights, sum: as in mace-jax."""
    import e3nn_jax as e3nn

    def convolve(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
        sent = e3nn.IrrepsArray(IN1, x[senders])
        wanted = [ir for _, ir in e3nn.Irreps(OUT)]
        messages = e3nn.tensor_product(sent, e3nn.IrrepsArray(IN2, y), filter_ir_out=wanted)
        messages = messages * w[:, : messages.irreps.num_irreps]
        return jax.ops.segment_sum(messages.array, receivers, num_nodes)

    return convolve


def cuequivariance_jax(senders: np.ndarray, receivers: np.ndarray, num_nodes: int) -> Convolve:
    """Its segmented polynomial, in XLA's own operations, which is what it has for CPUs."""
    import cuequivariance as cue
    import cuequivariance_jax as cuex

    irreps = (cue.Irreps("O3", text) for text in (IN1, IN2, OUT))
    polynomial = cue.descriptors.channelwise_tensor_product(*irreps).polynomial

    def convolve(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
        size = polynomial.outputs[0].size
        (out,) = cuex.segmented_polynomial(
            polynomial,
            [w[:, : polynomial.inputs[0].size], x, y],
            [jax.ShapeDtypeStruct((num_nodes, size), x.dtype)],
            [None, senders, None, receivers],
            method="naive",
        )
        return out

    return convolve


def shortest(function: Callable[[], object], repeats: int) -> float:
    """The shortest time of some runs, in milliseconds."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main() -> None:
    """Prints a line for each library."""
    parser = argparse.ArgumentParser(description="a convolution in JAX, in milliseconds")
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--degree", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    num_edges = options.nodes * options.degree
    ends = rng.integers(0, options.nodes, (2, num_edges))
    convolve, num_weights = ours(*ends, options.nodes)
    candidates = {"tvm_equi": convolve}
    for make in (e3nn_jax, cuequivariance_jax):
        if importlib.util.find_spec(make.__name__):
            candidates[make.__name__] = make(*ends, options.nodes)
    sizes = ((options.nodes, 512), (num_edges, 16), (num_edges, num_weights))
    given = [jnp.asarray(rng.normal(size=size), jnp.float32) for size in sizes]
    print(f"{options.nodes} nodes, {num_edges} edges, {num_weights} weights per edge")
    for name, function in candidates.items():
        forward = jax.jit(function)
        backward = jax.jit(jax.grad(lambda *a, f=function: (f(*a) ** 2).sum(), (0, 1, 2)))
        one = shortest(lambda f=forward: f(*given), options.repeats)
        two = shortest(lambda f=backward: f(*given), options.repeats)
        print(f"{name:20s} forward {one:8.2f} ms   forward and gradients {two:8.2f} ms")


if __name__ == "__main__":
    main()
