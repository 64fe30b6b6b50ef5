"""Convolutions of a graph with harmonics and the radial layer inside, against the interpreter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.graphs import convolution
from tests.passes import random_arrays
from tvm_equi.graph import interpret
from tvm_equi.graph.dtypes import with_dtype
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.operations import Convolution
from tvm_equi.jax.graph_function import from_graph

pytestmark = pytest.mark.deploy


def test_everything_inside() -> None:
    graph = with_dtype(convolution(), "float64")
    fuse = Fuse(harmonics=True, radial=True)
    fused = fuse(graph)
    convolutions = [n.operation for n in fused.nodes if isinstance(n.operation, Convolution)]
    assert any(found.harmonics is not None for found in convolutions)
    assert any(found.radial is not None for found in convolutions)
    arrays = random_arrays(graph, 2)
    parameters = {name: jnp.asarray(arrays[name]) for name in graph.parameters}
    inputs = {name: jnp.asarray(arrays[name]) for name in graph.inputs}
    apart, inside = from_graph(graph, pipeline=lambda g: g), from_graph(graph, pipeline=fuse)
    for name, expected in interpret(graph, arrays).items():
        assert name == "energy"
        np.testing.assert_allclose(jax.jit(inside)(parameters, **inputs), expected, atol=1e-10)
    wanted, found = (
        jax.grad(lambda p, f=function: f(p, **inputs)[0])(parameters)
        for function in (apart, inside)
    )
    for name in parameters:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-10)
