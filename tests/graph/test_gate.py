"""The gate against e3nn.nn.Gate."""

import numpy as np
import pytest
import torch
from e3nn.nn import Gate

from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder, interpret
from tvm_equi.graph.gate import add_gate, gate_irreps, gate_parts


def test_gate_is_e3nns() -> None:
    silu, sigmoid = torch.nn.functional.silu, torch.sigmoid
    reference = Gate("4x0e", [silu], "3x0e+2x0e", [sigmoid, sigmoid], "3x1o+2x2e").double()
    build = GraphBuilder()
    irreps = gate_irreps("4x0e", "3x1o+2x2e")
    assert irreps == "4x0e+5x0e+3x1o+2x2e"
    x = build.input("x", irreps, rows="node")
    graph = build.graph(add_gate(build, "gate", x, "4x0e", "3x1o+2x2e"))
    rows = torch.randn(5, reference.irreps_in.dim, dtype=torch.float64)
    found = interpret(graph, {"x": rows.numpy()})["gate"]
    np.testing.assert_allclose(found, reference(rows).numpy(), atol=1e-6)


def test_other_irreps() -> None:
    build = GraphBuilder()
    x = build.input("x", "4x0e+3x1o", rows="node")
    with pytest.raises(GraphError, match=r"x: expected irreps 4x0e\+3x0e\+3x1o, got 4x0e\+3x1o"):
        add_gate(build, "gate", x, "4x0e", "3x1o")


def test_parts_are_what_the_irreps_were_made_of() -> None:
    for scalars, gated in (("4x0e", "3x1o+2x2e"), ("4x0e+1x0e", "3x0o+2x1e"), ("", "3x1o")):
        assert gate_parts("gate", gate_irreps(scalars, gated)) == (scalars, gated)


@pytest.mark.parametrize("irreps", ["4x0e", "4x0e+2x0e+3x1o", "3x0o+3x1o", ""])
def test_irreps_that_are_no_gates(irreps: str) -> None:
    with pytest.raises(GraphError, match=r"node 'g' \(gate\): x: expected even scalars, a gate fo"):
        gate_parts("g", irreps)


def test_a_gate_without_other_scalars() -> None:
    build = GraphBuilder()
    x = build.input("x", gate_irreps("", "2x1o"), rows="node")
    graph = build.graph(add_gate(build, "gate", x, "", "2x1o"))
    reference = Gate("", [], "2x0e", [torch.sigmoid], "2x1o").double()
    rows = torch.randn(5, 8, dtype=torch.float64)
    found = interpret(graph, {"x": rows.numpy()})["gate"]
    np.testing.assert_allclose(found, reference(rows).numpy(), atol=1e-6)
