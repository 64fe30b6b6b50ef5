"""Models of mace-torch as programs: what they give for structures of any size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.mace import accelerate_mace
from tvm_equi.models.mace.capture import OUTPUTS, capture_mace


def _inputs(batch: dict[str, Any]) -> list[torch.Tensor]:
    """What a program takes, of mace-torch's inputs."""
    species = batch["node_attrs"].argmax(dim=1)
    names = ("edge_index", "unit_shifts", "cell")
    return [batch["positions"].detach(), species, *(batch[name] for name in names)]


def test_gives_what_the_model_gives(
    make_model: Callable[..., torch.nn.Module], batch_of: Callable[..., Any], crystal: Any
) -> None:
    model = make_model(numbers=(1, 6, 8))
    references = []
    for atoms in (crystal, crystal * (2, 1, 1)):
        found = model(batch_of(atoms), compute_virials=True)
        references.append([found[name].detach() for name in OUTPUTS])
    captured = capture_mace(accelerate_mace(model))
    assert [value.name for value in captured.outputs] == list(OUTPUTS)
    program = captured.program.module()
    for atoms, wanted in zip((crystal, crystal * (2, 1, 1)), references, strict=True):
        for value, want in zip(program(*_inputs(batch_of(atoms))), wanted, strict=True):
            assert torch.allclose(value, want.reshape(value.shape), rtol=1e-10, atol=1e-10)


def test_several_heads_are_refused(make_model: Callable[..., torch.nn.Module]) -> None:
    model = make_model()
    model.heads = ["one", "two"]
    with pytest.raises(UnsupportedError, match="expected a MACE or ScaleShiftMACE with one head"):
        capture_mace(model)


def test_elements_are_taken_by_index(make_model: Callable[..., torch.nn.Module]) -> None:
    """Not by products over all elements: their cost would grow with the number of these."""
    captured = capture_mace(accelerate_mace(make_model()))
    sorted_edges = {
        node.args[0]
        for node in captured.program.graph.nodes
        if node.target is torch.ops.tvm_equi.sort_edges.default
    }
    assert len(sorted_edges) == 2, "the edges, and an edge from its element to each atom"
