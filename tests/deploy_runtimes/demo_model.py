"""The demo's potential as a model file, and e3nn's energies and forces to compare it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import filelock
import torch

from tvm_equi.demo.model import ReferenceModel, Settings, graph_parameters, interaction_graph
from tvm_equi.demo.run import make_reference
from tvm_equi.demo.structures import Structure
from tvm_equi.export.capture import capture_graph
from tvm_equi.graph import DEFAULT_PIPELINE
from tvm_equi.graph.types import DType
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.relax.program import build_program
from tvm_equi.runtime.model_file import Content, described, save_model

SMALL = Settings(num_channels=16, num_layers=2, max_degree=2, feature_degree=1, avg_neighbours=6.0)


def write_demo(
    path: Path,
    dtype: DType,
    targets: Sequence[str],
    settings: Settings = SMALL,
    *,
    gradient: str = "gradient",
) -> ReferenceModel:
    """Writes the model; the program gives "energy", and its gradient, which is minus the forces.

    Args:
        path: of the file.
        dtype: of its values.
        targets: CPUs to compile for.
        settings: of the model.
        gradient: name of the output.

    Returns:
        The model with e3nn, in float64.
    """
    reference = make_reference(settings)
    graph = DEFAULT_PIPELINE(interaction_graph(settings, dtype))
    module = GraphModule(graph, graph_parameters(reference, graph))
    captured = capture_graph(module, {gradient: ("energy", "positions")})
    program, parameters = build_program(captured, targets)
    content = Content(
        dtype,
        1,
        tuple(described(target) for target in targets),
        programs=(program,),
        parameters=parameters,
    )
    save_model(path, content)
    return reference


def shared_demo(folder: Path, dtype: DType) -> Path:
    """The model as C++ tests use it, for x86-64-v3; made once for all workers of a test run.

    Args:
        folder: that the workers share.
        dtype: of its values.
    """
    path = folder / f"demo_{dtype}.tvmeq"
    with filelock.FileLock(f"{path}.lock"):
        if not path.exists():
            write_demo(path, dtype, ["x86-64-v3"], gradient="d_positions")
    return path


def eager(reference: ReferenceModel, structure: Structure) -> tuple[torch.Tensor, torch.Tensor]:
    """Energy and forces with e3nn, in float64."""
    inputs: Mapping[str, torch.Tensor] = structure.to(torch.float64).inputs()
    positions = inputs["positions"].clone().requires_grad_()
    energy = reference(**{**inputs, "positions": positions})
    (gradient,) = torch.autograd.grad(energy.sum(), positions)
    return energy.detach(), -gradient
