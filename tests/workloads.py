"""The workloads of the benchmark, as parameters of tests, and their operands."""

import pytest
import torch

from bench.workloads import Workload, load
from tests.nn.conv_reference import draw

WORKLOADS = [pytest.param(workload, id=workload.name) for workload in load()]


def operands(workload: Workload, nodes: int, edges: int) -> list[torch.Tensor]:
    """x, y and weights, in float64 on the CPU."""
    product = workload.build(torch.float64)
    generator = torch.Generator().manual_seed(0)
    lead = () if workload.shared_weights else (edges,)
    return [
        draw(generator, nodes, product.irreps_in1.dim),
        draw(generator, edges, product.irreps_in2.dim),
        draw(generator, *lead, product.weight_numel),
    ]


def moved(tensors: list[torch.Tensor], *to: object) -> list[torch.Tensor]:
    """Leaves that require a gradient, of another dtype or on another device."""
    return [tensor.detach().to(*to).requires_grad_() for tensor in tensors]  # type: ignore[call-overload]
