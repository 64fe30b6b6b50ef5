"""The public modules by the way of CUDA tensors, run as OpenCL: graphs, artifacts, odd indices."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from e3nn import o3

import tvm_equi
from bench.workloads import default_dtype
from tests.graphs import convolution, two_layers
from tests.nn.conv_reference import derivatives, draw, largest_error, summed
from tvm_equi.errors import IndexRangeError
from tvm_equi.nn.artifact import Artifact
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.runtime import gpu
from tvm_equi.runtime.device_order import DeviceOrder
from tvm_equi.runtime.devices import CHECK_VARIABLE

pytestmark = pytest.mark.usefixtures("on_opencl")

EDGES = torch.tensor([[3, 0, 0, 2, 3, 3], [1, 1, 4, 0, 1, 4]])
PATHS = [
    (0, 0, 0, "uvu", True),
    (1, 1, 0, "uvw", True),
    (0, 1, 1, "uvw", True),
    (1, 0, 1, "uvu", True),
    (1, 1, 2, "uvu", True),
]


def e3nn_product() -> o3.TensorProduct:
    with default_dtype(torch.float64):
        return o3.TensorProduct(
            "4x0e+3x1o",
            "0e+1o+2e",
            "4x0e+3x1o+3x1e",
            PATHS,
            shared_weights=False,
            internal_weights=False,
        )


def values(product: o3.TensorProduct) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    columns = (product.irreps_in1.dim, product.irreps_in2.dim, product.weight_numel)
    return [draw(generator, n, c) for n, c in zip((5, 6, 6), columns, strict=True)]


def test_third_derivative() -> None:
    product = e3nn_product()
    conv = tvm_equi.TensorProductConv.from_e3nn(product)
    given, topology = values(product), tvm_equi.Topology(EDGES, 5)
    assert isinstance(topology.order("sender"), DeviceOrder)
    found = derivatives(lambda *v: conv(*v, topology), given, 3)
    wanted = derivatives(lambda *v: summed(product, EDGES, 5, *v), given, 3)
    assert largest_error(found, wanted) < 1e-11


@pytest.mark.parametrize("inside", [None, True])
def test_radial_weights(inside: bool | None) -> None:
    product = e3nn_product()
    conv = tvm_equi.TensorProductConv.from_e3nn(product, fuse_radial=inside)
    x, y, _ = values(product)
    generator = torch.Generator().manual_seed(1)
    h, last = draw(generator, 6, 3), draw(generator, 3, product.weight_numel)

    def ours(x: torch.Tensor, y: torch.Tensor, h: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return conv(x, y, edge_index=EDGES, radial=h, last=last)

    found = derivatives(ours, [x, y, h, last], 2)
    wanted = derivatives(
        lambda x, y, h, last: summed(product, EDGES, 5, x, y, h @ last), [x, y, h, last], 2
    )
    assert largest_error(found, wanted) < 1e-11


def test_without_rows_or_edges() -> None:
    product = e3nn_product()
    conv = tvm_equi.TensorProductConv.from_e3nn(product)
    x, y, w = values(product)
    none = torch.empty((2, 0), dtype=torch.int64)
    assert (conv(x, y[:0], w[:0], none, 4) == 0).all()
    assert conv(x[:0], y, w, EDGES, 4).tolist() == [[0.0] * 22] * 4  # every index is out of range
    assert tvm_equi.TensorProduct.from_e3nn(product)(x[:0], y[:0], w[:0]).shape == (0, 22)


def test_indices_out_of_range_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    product = e3nn_product()
    conv = tvm_equi.TensorProductConv.from_e3nn(product)
    x, y, w = values(product)
    wrong = EDGES.clone()
    wrong[1, 1], wrong[1, 3] = 9, -1
    kept = torch.tensor([0, 2, 4, 5])
    found = conv(x, y, w, wrong, 5)
    assert largest_error([found], [conv(x, y[kept], w[kept], EDGES[:, kept], 5)]) < 1e-12
    assert wrong[1, 1] == 9
    with pytest.raises(IndexRangeError, match=r"receivers \(row 1\) from 0 to 4, got -1 to"):
        tvm_equi.Topology(wrong, 5, check_indices=True)
    monkeypatch.setenv(CHECK_VARIABLE, "1")
    with pytest.raises(IndexRangeError):
        conv(x, y, w, wrong, 5)


def test_nan_stays_with_its_receiver() -> None:
    product = e3nn_product()
    conv = tvm_equi.TensorProductConv.from_e3nn(product)
    x, y, w = (tensor.detach() for tensor in values(product))
    y[2] = float("nan")  # of the edge to node 4
    z = conv(x, y, w, EDGES, 5)
    assert z[4].isnan().any()
    assert z[:4].isfinite().all()


@pytest.mark.parametrize("make", [convolution, two_layers])
def test_graphs(make: Callable[[], object]) -> None:
    module = tvm_equi.compile(make(), dtype="float64", derivatives=0)  # type: ignore[arg-type]
    report = tvm_equi.verify(module, rows=9)
    assert max(report.forward, report.backward, report.double_backward) < 1e-11


def test_artifact_for_gpus(tmp_path: Path) -> None:
    compiled = tvm_equi.compile(convolution(), ["x86-64-v2", "sm_80", "sm_90"], derivatives=0)
    assert compiled.target == "x86-64-v2,sm_80,sm_90"
    loaded = tvm_equi.load(compiled.save(tmp_path / "model.tvmeq"))
    assert isinstance(loaded, Artifact)
    assert {kernel.target for kernel in loaded.kernels} == {"x86-64-v2", "sm_80,sm_90"}
    assert loaded.kernels == compiled.kernels
    found = loaded(**random_inputs(loaded, 6, seed=1))
    assert gpu.gpu_kernel.cache_info().currsize > 0  # what was run
    torch.testing.assert_close(found, compiled(**random_inputs(loaded, 6, seed=1)))


def test_under_torch_compile() -> None:
    conv = tvm_equi.TensorProductConv.from_e3nn(e3nn_product())
    given = values(e3nn_product())
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
    topology = tvm_equi.Topology(EDGES, 5)
    found = derivatives(lambda *v: compiled(*v, topology), given, 1)
    assert largest_error(found, derivatives(lambda *v: conv(*v, topology), given, 1)) < 1e-12
