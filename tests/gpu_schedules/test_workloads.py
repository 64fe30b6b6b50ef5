"""Every workload by the way of CUDA tensors, run as OpenCL: values and derivatives of e3nn."""

import pytest
import torch

import tvm_equi
from bench.workloads import Workload
from tests.nn.conv_reference import derivatives, graph, largest_error, summed
from tests.workloads import WORKLOADS, moved, operands

pytestmark = pytest.mark.usefixtures("on_opencl")


@pytest.mark.parametrize("workload", WORKLOADS)
def test_rows(workload: Workload) -> None:
    given = operands(workload, 5, 5)
    wanted = derivatives(workload.build(torch.float64), given, 2)
    ours = tvm_equi.TensorProduct.from_e3nn(workload.build(torch.float32))
    found = derivatives(ours, moved(given, torch.float32), 2)
    assert largest_error([tensor.double() for tensor in found], wanted) < 1e-5


@pytest.mark.parametrize("workload", WORKLOADS)
def test_edges(workload: Workload) -> None:
    product, edges = workload.build(torch.float64), graph("random", 40, 6, 5)
    given = operands(workload, 6, 40)
    wanted = derivatives(lambda *values: summed(product, edges, 5, *values), given, 2)
    ours = tvm_equi.TensorProductConv.from_e3nn(workload.build(torch.float32))
    topology = tvm_equi.Topology(edges, (6, 5))
    found = derivatives(lambda *values: ours(*values, topology), moved(given, torch.float32), 2)
    assert largest_error([tensor.double() for tensor in found], wanted) < 1e-5
