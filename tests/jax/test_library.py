"""Every operation in JAX, against the interpreter, and its gradients against torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.graphs import two_layers
from tests.jax.arrays import RECEIVERS, SENDERS, edges
from tests.operation_graphs import GRAPHS, Make
from tests.passes import random_arrays
from tvm_equi.algebra.contraction import LAYOUTS, Layout
from tvm_equi.errors import IndexRangeError
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder, TensorProductGraph, interpret
from tvm_equi.graph.types import IndexType
from tvm_equi.jax.graph_function import from_graph
from tvm_equi.jax.library import JAX
from tvm_equi.nn.graph_module import GraphModule

pytestmark = pytest.mark.deploy


def assert_runs_like_the_others(graph: TensorProductGraph) -> None:
    """Values like the interpreter's, gradients to everything like torch's."""
    graph = DEFAULT_PIPELINE(graph)
    arrays = random_arrays(graph, 1)
    parameters = {name: jnp.asarray(arrays[name]) for name in graph.parameters}
    inputs = {name: jnp.asarray(arrays[name]) for name in graph.inputs}
    types = graph.types
    is_value = {name: not isinstance(types[name], IndexType) for name in graph.inputs}
    function = from_graph(graph, pipeline=lambda planned: planned)

    def outputs(parameters: dict, values: dict) -> dict:
        found = function(parameters, **(inputs | values))
        return found if isinstance(found, dict) else {graph.outputs[0]: found}

    values = {name: array for name, array in inputs.items() if is_value[name]}
    found = jax.jit(outputs)(parameters, values)
    for name, expected in interpret(graph, arrays).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-10)

    def total(parameters: dict, values: dict) -> jax.Array:
        return sum((out**2).sum() for out in outputs(parameters, values).values())

    grads = jax.jit(jax.grad(total, (0, 1)))(parameters, values)
    module = GraphModule(graph, {n: torch.tensor(arrays[n]) for n in graph.parameters}).double()
    for parameter in module.parameters():
        parameter.requires_grad_()
    tensors = {
        name: torch.tensor(arrays[name], requires_grad=is_value[name]) for name in graph.inputs
    }
    results = module(**tensors)
    results = results if isinstance(results, dict) else {graph.outputs[0]: results}
    sum((out**2).sum() for out in results.values()).backward()
    wanted = {name: parameter.grad for name, parameter in module.named_parameters()}
    wanted |= {name: tensors[name].grad for name in values}
    for name, grad in (grads[0] | grads[1]).items():
        expected = 0.0 if wanted[name] is None else wanted[name].numpy()
        np.testing.assert_allclose(grad, np.broadcast_to(expected, grad.shape), atol=1e-8)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", GRAPHS)
def test_every_operation(make: Make, layout: Layout) -> None:
    assert_runs_like_the_others(make(layout))


def test_no_live_path_gives_zeros() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e", rows="node")
    build.tensor_product("tp", x, x, "2x1o", [(0, 0, 0, "uuu", False, 1.0)])
    build.linear("lin", "tp", "2x0e", instructions=[])
    graph = build.graph("tp", "lin")
    function = from_graph(graph, pipeline=lambda graph: graph)
    found = function({"lin.weight": jnp.zeros(0)}, jnp.ones((3, 2)))
    assert not found["tp"].any()
    assert found["lin"].shape == (3, 2)
    assert not found["lin"].any()


def test_convolutions_of_two_layers() -> None:
    assert_runs_like_the_others(two_layers())


def test_known_indices_are_checked() -> None:
    indices, counts = tuple(edges()), (1, RECEIVERS)
    assert JAX.topology(indices, (SENDERS, RECEIVERS), None).num_senders == SENDERS
    with pytest.raises(IndexRangeError):
        JAX.topology(indices, counts, None)
    loose = JAX.topology(indices, counts, False)
    traced = jax.jit(lambda *given: JAX.topology(given, counts, None))(*indices)
    for left, right in zip(loose.arrays(), traced.arrays(), strict=True):
        np.testing.assert_array_equal(left, right)
