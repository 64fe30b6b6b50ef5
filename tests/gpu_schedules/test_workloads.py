"""Every workload by the way of CUDA tensors, run as OpenCL: values and derivatives of e3nn."""

import pytest
import torch

import tvm_equi
from bench.workloads import Workload, load
from tests.nn.conv_reference import derivatives, draw, graph, largest_error, summed

pytestmark = pytest.mark.usefixtures("on_opencl")

WORKLOADS = [pytest.param(workload, id=workload.name) for workload in load()]


def inputs(workload: Workload, rows: int, edges: int) -> list[torch.Tensor]:
    """x, y and weights, in float64."""
    product = workload.build(torch.float64)
    generator = torch.Generator().manual_seed(0)
    lead = () if workload.shared_weights else (edges,)
    return [
        draw(generator, rows, product.irreps_in1.dim),
        draw(generator, edges, product.irreps_in2.dim),
        draw(generator, *lead, product.weight_numel),
    ]


def to(dtype: torch.dtype, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_rows(workload: Workload) -> None:
    given = inputs(workload, 5, 5)
    wanted = derivatives(workload.build(torch.float64), given, 2)
    ours = tvm_equi.TensorProduct.from_e3nn(workload.build(torch.float32))
    found = derivatives(ours, to(torch.float32, given), 2)
    assert largest_error([tensor.double() for tensor in found], wanted) < 1e-5


@pytest.mark.parametrize("workload", WORKLOADS)
def test_edges(workload: Workload) -> None:
    product, edges = workload.build(torch.float64), graph("random", 40, 6, 5)
    given = inputs(workload, 6, 40)
    wanted = derivatives(lambda *values: summed(product, edges, 5, *values), given, 2)
    ours = tvm_equi.TensorProductConv.from_e3nn(workload.build(torch.float32))
    topology = tvm_equi.Topology(edges, (6, 5))
    found = derivatives(lambda *values: ours(*values, topology), to(torch.float32, given), 2)
    assert largest_error([tensor.double() for tensor in found], wanted) < 1e-5
