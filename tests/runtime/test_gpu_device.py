"""On a CUDA device: every workload against e3nn, streams, devices, CUDA graphs, refusals."""

import pytest
import torch

import tvm_equi
from bench.workloads import Workload, load
from tests.graphs import two_layers
from tests.nn.conv_reference import derivatives, graph, largest_error, summed
from tests.workloads import WORKLOADS, moved, operands
from tvm_equi.errors import ArgumentError, IndexRangeError
from tvm_equi.runtime.devices import CHECK_VARIABLE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices are checked."""
    monkeypatch.setenv(CHECK_VARIABLE, "1")


def wide(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.cpu().double() for tensor in tensors]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_rows(workload: Workload, dtype: torch.dtype) -> None:
    given, order = operands(workload, 50, 50), 2 if dtype.itemsize >= 4 else 1
    ours = tvm_equi.TensorProduct.from_e3nn(workload.build(torch.float32))
    found = wide(derivatives(ours, moved(given, "cuda", dtype), order))
    wanted = derivatives(workload.build(torch.float64), given, order)
    assert largest_error(found, wanted) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ["random", "skewed"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_edges(workload: Workload, kind: str, dtype: torch.dtype) -> None:
    edges = graph("random", 300, 16, 15)
    if kind == "skewed":
        edges[:, :200] = torch.tensor([[3], [5]])
    given, order = operands(workload, 16, 300), 2 if dtype.itemsize >= 4 else 1
    ours = tvm_equi.TensorProductConv.from_e3nn(workload.build(torch.float32))
    topology = tvm_equi.Topology(edges.cuda(), (16, 15))
    found = derivatives(lambda *values: ours(*values, topology), moved(given, "cuda", dtype), order)
    product = workload.build(torch.float64)
    wanted = derivatives(lambda *values: summed(product, edges, 15, *values), given, order)
    assert largest_error(wide(found), wanted) < TOLERANCE[dtype]


def prepared() -> tuple[tvm_equi.TensorProductConv, list[torch.Tensor], tvm_equi.Topology]:
    workload = next(workload for workload in load() if workload.name == "mace-medium")
    conv = tvm_equi.TensorProductConv.from_e3nn(workload.build())
    topology = tvm_equi.Topology(graph("random", 2000, 60, 60).cuda(), 60)
    return conv, moved(operands(workload, 60, 2000), "cuda", torch.float32), topology


def test_equal_in_every_run() -> None:
    conv, given, topology = prepared()
    first = derivatives(lambda *v: conv(*v, topology), given, 2)
    for _ in range(9):
        again = derivatives(lambda *v: conv(*v, topology), given, 2)
        assert all(map(torch.equal, first, again))


def test_streams() -> None:
    conv, given, topology = prepared()
    wanted = conv(*given, topology)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10**8)  # work on another stream would read before this
        later = [tensor * 1.0 for tensor in given]
        found = conv(*later, topology)
    stream.synchronize()
    assert torch.equal(found, wanted)


def test_cuda_graph() -> None:
    conv, given, topology = prepared()
    with torch.no_grad():
        wanted = conv(*given, topology)  # compiles and sorts
        held = torch.cuda.CUDAGraph()
        with torch.cuda.graph(held):
            found = conv(*given, topology)
        found.zero_()
        held.replay()
    torch.cuda.synchronize()
    assert torch.equal(found, wanted)


def test_nothing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, given, topology = prepared()
    derivatives(lambda *v: conv(*v, topology), given, 1)  # compiles
    monkeypatch.delenv(CHECK_VARIABLE)
    edges = topology.edge_index
    torch.cuda.set_sync_debug_mode("error")
    try:
        z = conv(*given, tvm_equi.Topology(edges, 60))
        torch.autograd.grad(z.sum(), given)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_graphs() -> None:
    module = tvm_equi.compile(two_layers(), ["host", "cuda"])
    cpu = tvm_equi.nn.graph_compare.random_inputs(module, 9, seed=1)
    wanted = module(**cpu)
    found = module.cuda()(**{name: value.cuda() for name, value in cpu.items()})
    torch.testing.assert_close(found.cpu(), wanted, atol=1e-10, rtol=1e-10)


def test_refused() -> None:
    conv, (x, y, w), topology = prepared()
    with pytest.raises(ArgumentError, match="expected a tensor on cuda:0, got one on 'cpu'"):
        conv(x, y.cpu(), w, topology)
    with pytest.raises(ArgumentError, match="like the topology"):
        conv(x.cpu(), y.cpu(), w.cpu(), topology)
    with pytest.raises(IndexRangeError):
        conv(x, y, w, topology.edge_index + 1, 60)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_another_device() -> None:
    conv, given, topology = prepared()
    wanted = conv(*given, topology)
    there = [tensor.to("cuda:1") for tensor in given]
    found = conv(*there, tvm_equi.Topology(topology.edge_index.to("cuda:1"), 60))
    assert found.device.index == 1
    assert torch.cuda.current_device() == 0
    assert torch.equal(found.cpu(), wanted.cpu())
    with pytest.raises(ArgumentError, match="cuda:1"):
        conv(given[0], there[1], given[2], topology)
