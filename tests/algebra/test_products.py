"""Kernels of tensor products equal e3nn's, by the oracle, in float64."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from e3nn import o3

from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.products import Instruction, linear_kernel, tensor_product_kernel
from tvm_equi.errors import ArgumentError

MODES = {
    "uvw": (2, 3, 4),
    "uvu": (2, 3, 2),
    "uvv": (2, 3, 3),
    "uuw": (3, 3, 2),
    "uuu": (3, 3, 3),
    "uvuv": (2, 3, 6),
    "uvu<v": (4, 4, 6),
    "u<vw": (4, 4, 2),
}


def pairs(irreps: o3.Irreps) -> tuple[tuple[int, int], ...]:
    return tuple((mul, ir.l) for mul, ir in irreps)


@pytest.fixture
def float64_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("float64_default")
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_equals_e3nn(mode: str) -> None:
    # e3nn keeps its constants in the dtype that is the default when it is built.
    u, v, w = MODES[mode]
    theirs = o3.TensorProduct(
        f"{u}x1o+{u}x0e",
        f"{v}x1o+{v}x2e",
        f"{w}x2e+{w}x1o",
        [(0, 0, 0, mode, True), (1, 0, 1, mode, True, 0.3), (0, 1, 1, mode, True)],
        shared_weights=False,
        internal_weights=False,
    ).to(torch.float64)
    x = theirs.irreps_in1.randn(5, -1, dtype=torch.float64)
    y = theirs.irreps_in2.randn(5, -1, dtype=torch.float64)
    weight = torch.randn(5, theirs.weight_numel, dtype=torch.float64)
    kernel = tensor_product_kernel(
        pairs(theirs.irreps_in1),
        pairs(theirs.irreps_in2),
        pairs(theirs.irreps_out),
        tuple(
            Instruction(i.i_in1, i.i_in2, i.i_out, mode, True, float(i.path_weight))
            for i in theirs.instructions
        ),
        weight_rows="row",
    )
    (z,) = evaluate(kernel, [x.numpy(), y.numpy(), weight.numpy()])
    assert np.abs(z - theirs(x, y, weight).numpy()).max() < 1e-12 * np.abs(z).max()


def test_weights_come_first_where_that_is_cheaper() -> None:
    def families(mul_in: int, mul_out: int) -> list[str]:
        path = (Instruction(0, 0, 0, "uvw", True, 1.0),)
        kernel = tensor_product_kernel(
            ((mul_in, 0),), ((1, 2),), ((mul_out, 2),), path, weight_rows="row"
        )
        return [kernel.contractions[step.contraction].family for step in kernel.steps]

    assert families(32, 8) == ["mix", "couple"]
    assert families(1, 64) == ["couple", "mix"]


def test_linear_layer() -> None:
    kernel = linear_kernel(((2, 1),), ((3, 1),), ((0, 0, 2.0),), weight_rows="shared")
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 6)), rng.standard_normal(6)
    (z,) = evaluate(kernel, [x, w])
    wanted = 2 * np.einsum("nui,uw->nwi", x.reshape(4, 2, 3), w.reshape(2, 3)).reshape(4, 9)
    assert np.allclose(z, wanted, rtol=0, atol=1e-14)


def test_unknown_mode_is_refused() -> None:
    path = (Instruction(0, 0, 0, "uvx", True, 1.0),)
    with pytest.raises(ArgumentError, match=r"instructions\[0\].mode: expected one of .*'uvx'"):
        tensor_product_kernel(((1, 0),), ((1, 0),), ((1, 0),), path, weight_rows="row")
