"""Contestants of the convolution compute the same sums, and too large ones are not tried."""

import pytest
import torch

from bench import convolvers, machine
from bench.contestants import COMPILE, CUE, E3NN, CompileBudget, Unavailable
from bench.convolvers import RADIAL, Unfused, convolution_case, rows_of, unfused_bytes
from bench.counts import Rows
from bench.graphs import Graph, skewed
from bench.passes import PASSES, Tensors, relative_error
from bench.workloads import Workload, select

BUDGET = CompileBudget(0.0, 0.0)
TINY = Workload("p", "channelwise", "2x0e+2x1o", "0e+1o", "2x0e+2x1o")


@pytest.fixture
def graph() -> Graph:
    return skewed(40)


def test_rows(graph: Graph) -> None:
    assert rows_of(graph) == Rows(40, 4, 4)


def test_unfused_is_a_sum_over_edges() -> None:
    index = torch.tensor([[0, 1, 1], [2, 0, 2]])
    graph = Graph("g", index, 3, torch.zeros(3, 3, dtype=torch.float64))
    x = torch.tensor([[1.0], [2.0], [3.0]])
    y, w = torch.tensor([[1.0], [10.0], [100.0]]), torch.tensor([[1.0], [1.0], [2.0]])
    conv = Unfused(lambda x, y, w: x * y * w, graph)
    assert conv(x, y, w).tolist() == [[20.0], [0.0], [1.0 + 400.0]]
    assert conv(x, y, w, torch.tensor([[3.0]])).tolist() == [[60.0], [0.0], [1203.0]]


def test_tensors_of_the_two_forms(graph: Graph) -> None:
    case = convolution_case(TINY, graph, torch.float64, BUDGET)
    paths = case.module.weight_numel
    assert [list(t.shape) for t in case.tensors.inputs] == [[4, 8], [40, 4], [40, paths]]
    assert list(case.tensors.g.shape) == [4, case.module.irreps_out.dim]
    radial = convolution_case(TINY, graph, torch.float64, BUDGET, RADIAL)
    shapes = [list(t.shape) for t in radial.tensors.inputs]
    assert shapes == [[4, 8], [40, 4], [40, 64], [64, paths]]
    assert Tensors.of(radial.tensors.flat) == radial.tensors


@pytest.mark.parametrize("name", ["mace-medium", "e3tools-shared", "tetris-poly-1"])
def test_cuequivariance_agrees(name: str, graph: Graph) -> None:
    pytest.importorskip("cuequivariance_torch")
    case = convolution_case(select([name])[0], graph, torch.float64, BUDGET)
    for pass_name in PASSES:
        values = [case.call(contestant, pass_name)[1] for contestant in (E3NN, CUE)]
        assert relative_error(values[1], values[0]) < 1e-10


def test_radial_form_is_the_other_with_the_product(graph: Graph) -> None:
    radial = convolution_case(TINY, graph, torch.float64, BUDGET, RADIAL)
    x, y, h, last = radial.tensors.inputs
    module = radial.product(E3NN)
    torch.testing.assert_close(module(x, y, h, last), module(x, y, h @ last))


def test_shared_weights_have_one_form(graph: Graph) -> None:
    workload = select(["e3tools-shared"])[0]
    with pytest.raises(ValueError, match=r"e3tools-shared: form: expected one of \('per edge',\)"):
        convolution_case(workload, graph, torch.float32, BUDGET, RADIAL)


def test_memory_estimate() -> None:
    module = TINY.build()
    row = 8 + 4 + module.weight_numel + module.irreps_out.dim
    assert unfused_bytes(module, 10, 4, "forward") == 100 * row
    assert unfused_bytes(module, 10, 4, "forward+backward") == 200 * row
    assert unfused_bytes(module, 10, 8, "training step") == 800 * row


def test_what_does_not_fit_is_not_tried(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    case = convolution_case(TINY, graph, torch.float32, BUDGET)
    for contestant in (E3NN, CUE, COMPILE):
        with pytest.raises(Unavailable, match="not tried: it would hold about"):
            case.call(contestant, "forward")
    case.check(convolvers.OURS, "training step")
