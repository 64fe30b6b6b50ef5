"""Lowered convolutions equal the oracle: modes, degrees, shared nodes, phases, derivatives."""

from collections.abc import Callable

import pytest
import torch

from tests.lower.test_primfunc import MODES, derivatives, product
from tvm_equi.algebra.convolution import convolution_kernel, stages, substitute
from tvm_equi.algebra.harmonics import harmonics_kernel
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, WeightRows, tensor_product_kernel
from tvm_equi.algebra.radial import radial_kernel
from tvm_equi.artifact.codegen import tensorir

Check = Callable[..., None]


def random_edges(num_edges: int, senders: int, receivers: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    counts = (senders, receivers)
    return torch.stack([torch.randint(0, n, (num_edges,), generator=generator) for n in counts])


EDGES = random_edges(45, 7, 4)
COUNTS = (7, 5)
"""The last receiver has no edge."""


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize(("mode", "u", "v", "w"), MODES)
def test_equals_the_oracle(
    mode: str, u: int, v: int, w: int, weight_rows: WeightRows, check_convolution: Check
) -> None:
    kernel = stages(product(mode, (u, v, w), weight_rows)).edges
    for one in derivatives(kernel)[: 3 if weight_rows == "row" else 2]:
        check_convolution(one, EDGES, COUNTS)


@pytest.mark.parametrize("mode", ["uvu", "uuu"])
def test_ir_mul_equals_the_oracle(mode: str, check_convolution: Check) -> None:
    muls = {"uvu": (5, 1, 5), "uuu": (5, 5, 5)}[mode]
    for kernel in derivatives(convolution_kernel(product(mode, muls, "row", "ir_mul"))):
        check_convolution(kernel, EDGES, COUNTS)


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_named_targets_equal_the_oracle(dtype: str, target: str, check_convolution: Check) -> None:
    for kernel in derivatives(convolution_kernel(product("uvu", (13, 1, 13), "row")))[:2]:
        check_convolution(kernel, EDGES, COUNTS, dtype, target)


def test_nodes_that_tasks_share(check_convolution: Check) -> None:
    edges = random_edges(3000, 40, 30, 3)
    edges[:, 100:1900] = torch.tensor([[3], [8]])  # in both orders, one node has most edges
    for kernel in derivatives(convolution_kernel(product("uvu", (5, 1, 5), "row"))):
        check_convolution(kernel, edges, (41, 32))


def fused(*, radial: bool, harmonics: bool, mul: int = 9) -> Kernel:
    """A convolution that computes its weights, attributes or both inside."""
    instructions = tuple(
        Instruction(*segments, "uvu", True, 0.5)
        for segments in ((0, 0, 0), (1, 1, 0), (0, 1, 1), (0, 2, 2))
    )
    kernel = convolution_kernel(
        tensor_product_kernel(
            ((mul, 0), (mul, 1)),
            ((1, 0), (1, 1), (1, 2)),
            ((mul, 0), (mul, 1), (mul, 2)),
            instructions,
            weight_rows="row",
        )
    )
    if radial:
        kernel = substitute(kernel, 2, radial_kernel(kernel.operand("w"), 6))
    if harmonics:
        kernel = substitute(kernel, 1, harmonics_kernel(kernel.operand("y"), "component"))
    return kernel


@pytest.mark.parametrize(("radial", "harmonics"), [(True, False), (False, True), (True, True)])
def test_inner_kernels_equal_the_oracle(
    radial: bool, harmonics: bool, check_convolution: Check
) -> None:
    for kernel in derivatives(fused(radial=radial, harmonics=harmonics)):
        check_convolution(kernel, EDGES, COUNTS)
    check_convolution(fused(radial=radial, harmonics=harmonics), random_edges(1500, 30, 9), (30, 9))


def test_indices_are_64_bit() -> None:
    kernel = convolution_kernel(product("uvu", (5, 1, 5), "row"))
    text = tensorir(kernel, "float32")
    assert "T.parallel" in text
    assert "int32" not in text.replace('"int32"', "")
