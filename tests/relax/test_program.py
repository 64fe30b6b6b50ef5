import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.programs import load
from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.export.capture import Captured, capture_graph
from tvm_equi.graph.pipeline import DEFAULT_PIPELINE
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.relax.program import Built, build_program

SMALL = Settings(num_channels=2, num_layers=1, max_degree=1, feature_degree=1)
GRADIENTS = {"d_positions": ("energy", "positions")}
Run = Callable[..., list[torch.Tensor]]


def make_module(dtype: str) -> GraphModule:
    torch.manual_seed(0)
    exact = GraphModule(DEFAULT_PIPELINE(interaction_graph(SMALL, "float64")))
    graph = DEFAULT_PIPELINE(interaction_graph(SMALL, dtype))  # type: ignore[arg-type]
    return GraphModule(graph, dict(exact.named_parameters()))


def make_inputs(captured: Captured, nodes: int, edges: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(nodes)
    counts = {"nodes": nodes, "edges": edges}
    found = []
    for value in captured.inputs:
        shape = [counts[size] if isinstance(size, str) else size for size in value.shape]
        if value.dtype == "int64":
            found.append(torch.randint(0, nodes, shape, generator=generator))
        else:
            dtype = getattr(torch, value.dtype)
            found.append(torch.randn(shape, generator=generator, dtype=dtype))
    return found


@pytest.fixture(scope="module", params=["float64", "float32"])
def built(request: pytest.FixtureRequest) -> tuple[Captured, Built, Run]:
    captured = capture_graph(make_module(request.param), GRADIENTS)
    program = build_program(captured)
    return captured, program, load(program)


@pytest.mark.parametrize(("nodes", "edges"), [(9, 40), (130, 700), (3, 0), (1, 0)])
def test_energy_and_gradient_are_those_of_torch(
    built: tuple[Captured, Built, Run], nodes: int, edges: int
) -> None:
    captured, _, run = built
    inputs = make_inputs(captured, nodes, edges)
    names = [value.name for value in captured.inputs]
    exact = {
        name: value.double() if value.is_floating_point() else value
        for name, value in zip(names, inputs, strict=True)
    }
    exact["positions"].requires_grad_()
    energy = make_module("float64")(**exact)
    (gradient,) = torch.autograd.grad(energy.sum(), exact["positions"], materialize_grads=True)
    tolerance = 1e-11 if inputs[0].dtype == torch.float64 else 1e-4
    for found, wanted in zip(run(*inputs), (energy.detach(), gradient), strict=True):
        scale = float(wanted.abs().max())
        torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance * scale)


def test_what_a_program_says_of_itself(built: tuple[Captured, Built, Run]) -> None:
    captured, (program, parameters), _ = built
    assert (program.inputs, program.outputs) == (captured.inputs, captured.outputs)
    assert [value.name for value in program.outputs] == ["energy", "d_positions"]
    assert all(value.is_contiguous() for value in parameters.values())
    assert program.parameters == tuple(parameters)
    kernels = program.kernels["host"]
    assert len(kernels) == len({kernel.sha256 for kernel in kernels}) > 5


def test_an_index_out_of_range(built: tuple[Captured, Built, Run]) -> None:
    captured, _, run = built
    for name, bad in (("senders", 9), ("receivers", -1)):
        inputs = make_inputs(captured, 9, 40)
        inputs[[value.name for value in captured.inputs].index(name)][7] = bad
        with pytest.raises(IndexError, match=f"{name}: expected indices from 0 to 8, got {bad}"):
            run(*inputs)


def test_wrong_inputs_are_errors(built: tuple[Captured, Built, Run]) -> None:
    captured, _, run = built
    good = make_inputs(captured, 9, 40)
    for number, bad in (
        (0, good[0].half()),
        (0, good[0][:, :2].contiguous()),
        (1, good[1][:5].contiguous()),
        (2, good[2][:5].contiguous()),
        (2, good[2].int()),
    ):
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            run(*good[:number], bad, *good[number + 1 :])


def test_tensors_may_lie_anywhere(built: tuple[Captured, Built, Run]) -> None:
    captured, _, run = built
    inputs = make_inputs(captured, 33, 300)
    shifted = []
    for value in inputs:
        room = torch.empty(value.numel() + 1, dtype=value.dtype)[1:].view(value.shape)
        shifted.append(room.copy_(value))
    for found, wanted in zip(run(*shifted), run(*inputs), strict=True):
        assert torch.equal(found, wanted)


def test_compiled_in_another_process_a_program_has_the_same_bytes(
    built: tuple[Captured, Built, Run],
) -> None:
    captured, (program, _), _ = built
    code = f"""
    from tests.relax.test_program import GRADIENTS, make_module
    from tvm_equi.export.capture import capture_graph
    from tvm_equi.relax.program import build_program

    program, _ = build_program(capture_graph(make_module("{captured.inputs[0].dtype}"), GRADIENTS))
    print(program.libraries["host"].sha256, *program.parameters)
    """
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == [program.libraries["host"].sha256, *program.parameters]
