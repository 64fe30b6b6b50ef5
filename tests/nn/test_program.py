"""Compiled models on tensors of torch: values, files, refusals."""

from pathlib import Path

import pytest
import torch

from tests.graphs import convolution
from tvm_equi.compiler import compile
from tvm_equi.errors import ArgumentError, ArgumentTypeError, ArtifactError
from tvm_equi.export.capture import Captured, capture_graph
from tvm_equi.nn.artifact import load
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.nn.program import Program


@pytest.fixture(scope="module")
def module() -> GraphModule:
    torch.manual_seed(0)
    return GraphModule(convolution())


@pytest.fixture(scope="module")
def captured(module: GraphModule) -> Captured:
    (output,) = module.graph.outputs
    name = next(n for n in module.graph.inputs if hasattr(module.graph.types[n], "irreps"))
    return capture_graph(module, {"gradient": (output, name)})


@pytest.fixture(scope="module")
def program(captured: Captured) -> Program:
    return compile(captured)


def test_gives_what_the_module_gives(
    module: GraphModule, captured: Captured, program: Program, tmp_path: Path
) -> None:
    again = load(program.save(tmp_path / "model.tvmeq"))
    assert isinstance(again, Program)
    assert again.inputs == program.inputs == captured.inputs
    assert again.outputs == captured.outputs
    assert again.target == "host"
    assert "-> gradient: " in repr(again)
    (output,) = module.graph.outputs
    for rows in (1, 6, 40):
        inputs = random_inputs(module, rows, seed=rows)
        first = next(name for name, value in inputs.items() if value.is_floating_point())
        inputs[first].requires_grad_()
        wanted = module(**inputs)
        (gradient,) = torch.autograd.grad(wanted.sum(), inputs[first])
        given = {name: value.detach() for name, value in inputs.items()}
        for each in (program, again):
            found = each(**given)
            assert torch.allclose(found[output], wanted, rtol=1e-5, atol=1e-5)
            assert torch.allclose(found["gradient"], gradient, rtol=1e-5, atol=1e-5)
        assert torch.equal(program(*given.values())[output], found[output])


def test_inputs_are_checked(module: GraphModule, program: Program) -> None:
    inputs = random_inputs(module, 6, seed=0)
    first = next(name for name, value in inputs.items() if value.is_floating_point())
    with pytest.raises(ArgumentError, match=f"{first}: expected a tensor that requires no gradi"):
        program(**(inputs | {first: inputs[first].clone().requires_grad_()}))
    with pytest.raises(ArgumentTypeError, match=f"{first}: expected a tensor, got list"):
        program(**(inputs | {first: [1.0]}))
    with pytest.raises(ArgumentError, match=f"{first}: expected a tensor on the CPU, got one on m"):
        program(**(inputs | {first: inputs[first].to("meta")}))
    with pytest.raises(ArgumentTypeError, match=first):
        program(**(inputs | {first: inputs[first].double()}))
    for other in (inputs[first].bfloat16(), inputs[first].to_sparse()):
        with pytest.raises(ArgumentTypeError, match=f"{first}: expected a dense tensor of a dtype"):
            program(**(inputs | {first: other}))


def test_views_that_only_torch_negates(module: GraphModule, program: Program) -> None:
    inputs = random_inputs(module, 6, seed=0)
    first = next(name for name, value in inputs.items() if value.is_floating_point())
    negative = torch._neg_view(-inputs[first])
    assert negative.is_neg()
    (output,) = module.graph.outputs
    assert torch.equal(program(**(inputs | {first: negative}))[output], program(**inputs)[output])


def test_another_program(program: Program) -> None:
    with pytest.raises(ArtifactError, match="program: expected one of main, got 'other'"):
        Program(program.content, name="other")
