"""Every operation of a graph on TVM's virtual machine, values and gradients, against torch."""

import pytest
import torch
import tvm
from tvm import relax

from tests.operation_graphs import GRAPHS, Make, products, rows_and_scalars
from tvm_equi.graph import TensorProductGraph
from tvm_equi.graph.types import IndexType
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.relax import build, to_relax

COUNTS = ({"node": 6, "edge": 11, "graph": 2}, {"node": 3, "edge": 0, "graph": 1})
ONE = {"node": 1, "edge": 1, "graph": 1}
"""Of the smallest graph: on it, what torch takes for a size that never changes would show."""


def drawn(graph: TensorProductGraph, counts: dict[str, int]) -> dict[str, torch.Tensor]:
    found = {}
    for name in graph.inputs:
        kind = graph.types[name]
        rows = [] if kind.rows == "shared" else [counts[kind.rows]]
        if isinstance(kind, IndexType):
            found[name] = torch.randint(0, counts[kind.into], rows)
        else:
            found[name] = torch.randn([*rows, kind.dim], dtype=torch.float64)
    return found


def check(graph: TensorProductGraph) -> None:
    """Compares outputs, and the gradients of the last one, which all else goes into."""
    torch.manual_seed(1)  # no length near zero, or at a cutoff, among few rows
    module = GraphModule(graph)
    values = [name for name in graph.inputs if not isinstance(graph.types[name], IndexType)]
    pairs = [(graph.outputs[-1], name) for name in values]
    gradients = {f"d_{number}": pair for number, pair in enumerate(pairs)}
    executable = build(to_relax(module, gradients), tvm.target.Target("llvm"))
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    for counts in (*COUNTS, ONE):
        inputs = drawn(graph, counts)
        found = main(*[value.detach() for value in module.parameters()], *inputs.values())
        for name in values:
            inputs[name].requires_grad_()
        wanted = module(**inputs)
        wanted = wanted if isinstance(wanted, dict) else {graph.outputs[0]: wanted}
        outputs = [wanted[name] for name in graph.outputs]
        for output, name in pairs:
            total = wanted[output].sum()
            outputs += torch.autograd.grad(total, inputs[name], retain_graph=True)
        names = [*graph.outputs, *(f"d {output} / d {name}" for output, name in pairs)]
        for name, value, other in zip(names, found, outputs, strict=True):
            torch.testing.assert_close(
                torch.from_dlpack(value),
                other.detach(),
                rtol=1e-10,
                atol=1e-12,
                msg=lambda text, name=name, counts=counts: f"{name}, {counts}: {text}",
            )


@pytest.mark.parametrize("make", GRAPHS)
def test_values_and_gradients_are_those_of_torch(make: Make) -> None:
    check(make("mul_ir"))


@pytest.mark.slow
@pytest.mark.parametrize("make", [rows_and_scalars, products])
def test_the_other_layout(make: Make) -> None:
    check(make("ir_mul"))
