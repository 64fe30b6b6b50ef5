"""A planned model against e3nn: energy, forces, and gradients of forces to the old parameters."""

import torch

from tvm_equi.demo.model import ReferenceModel, Settings, graph_parameters, interaction_graph
from tvm_equi.graph import PLANNING_PIPELINE
from tvm_equi.nn.graph_module import GraphModule


def test_energy_forces_and_their_gradients() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        settings = Settings(4, 2, 1, 1, 3, 4)
        torch.manual_seed(0)
        reference = ReferenceModel(settings)
        graph = interaction_graph(settings, "float64")
        planned = PLANNING_PIPELINE(graph)
        assert "ComposedWeights" in {node.kind for node in planned.nodes}
        given = {
            name: value.clone().requires_grad_()
            for name, value in graph_parameters(reference, graph).items()
        }
        module = GraphModule(planned, {name: given[name] for name in planned.parameters})
        nodes, edges = 6, 20
        species = torch.nn.functional.one_hot(torch.randint(0, 3, (nodes,)), 3).double()
        senders = torch.randint(0, nodes, (edges,))
        receivers = (senders + torch.randint(1, nodes, (edges,))) % nodes
        positions, shifts = torch.randn(nodes, 3), torch.zeros(edges, 3)
        found = []
        for model in (reference, module):
            own = dict(model.named_parameters())
            leaf = positions.clone().requires_grad_()
            energy = model(leaf, species, senders, receivers, shifts)
            (forces,) = torch.autograd.grad(energy.sum(), leaf, create_graph=True)
            names = [n for n in planned.parameters if not n.endswith("mix.weight")]
            grads = torch.autograd.grad(
                energy.sum() + forces.square().sum(), [own[name] for name in names]
            )
            found.append([energy.detach().reshape(-1), forces.detach(), *grads])
    finally:
        torch.set_default_dtype(torch.float32)
    for ours, theirs in zip(found[1], found[0], strict=True):
        error = (ours.reshape(-1) - theirs.reshape(-1)).abs().max() / theirs.abs().max()
        assert error < 1e-10
