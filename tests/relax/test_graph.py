from typing import Any

import pytest
import torch
import tvm
from tvm import relax

from tests.graphs import two_layers
from tvm_equi.errors import ArgumentError
from tvm_equi.graph.pipeline import DEFAULT_PIPELINE
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.relax import pass_context, to_relax


def test_a_graph_runs_on_the_virtual_machine_by_tensorir_alone() -> None:
    torch.manual_seed(0)
    graph = DEFAULT_PIPELINE(two_layers())
    module = GraphModule(graph)
    found: Any = to_relax(module, {"d_vectors": ("energy", "vectors")})
    names = [parameter.name for parameter in found["main"].params]
    assert names == [*graph.parameters, *graph.inputs]
    with pass_context():
        executable = relax.build(
            found, tvm.target.Target("llvm"), relax_pipeline=relax.get_pipeline("tvm_equi")
        )
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    x, vectors = (torch.randn(n, d, dtype=torch.float64) for n, d in ((6, 8), (20, 3)))
    senders, receivers = torch.randint(0, 6, (2, 20)).unbind()
    given = [x, vectors, senders.clone(), receivers.clone()]
    out = main(*[value.detach() for value in module.parameters()], *given)
    vectors.requires_grad_()
    energy = module(*given)
    (gradient,) = torch.autograd.grad(energy.sum(), vectors)
    torch.testing.assert_close(torch.from_dlpack(out[0]), energy.detach())
    torch.testing.assert_close(torch.from_dlpack(out[1]), gradient)


def test_a_gradient_of_no_output_is_refused() -> None:
    with pytest.raises(ArgumentError, match="gradients"):
        to_relax(DEFAULT_PIPELINE(two_layers()), {"d": ("forces", "vectors")})
