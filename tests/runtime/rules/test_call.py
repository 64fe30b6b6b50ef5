"""Edges are sorted once for each pair of indices."""

import pytest
import torch

from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.fuse import Fuse
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.runtime.topology import Topology

SENDERS, RECEIVERS = torch.tensor([0, 1, 2]), torch.tensor([3, 0, 0])


def test_layers_of_a_graph_share_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    build = GraphBuilder(dtype="float64")
    x, y = build.input("x", "2x0e", rows="node"), build.input("y", "0e", rows="edge")
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    for layer in range(3):
        build.gather(f"g{layer}", x, i)
        build.tensor_product(f"t{layer}", f"g{layer}", y, "2x0e", [(0, 0, 0, "uvu", False, 1.0)])
        x = build.scatter_sum(f"s{layer}", f"t{layer}", j)
    module = GraphModule(Fuse()(build.graph(x)))
    made: list[Topology] = []
    init = Topology.__init__

    def note(self: Topology, *args: object) -> None:
        made.append(self)
        init(self, *args)

    monkeypatch.setattr(Topology, "__init__", note)
    for calls in (1, 2):
        rows = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
        edges = torch.randn(3, 1, dtype=torch.float64)
        module(rows, edges, SENDERS, RECEIVERS).sum().backward()
        assert len(made) == calls
