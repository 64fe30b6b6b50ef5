"""Pruning on request: what is zero goes for nothing, what is small goes, symmetry stays."""

import numpy as np
import pytest
import torch

import tvm_equi
from tests.passes import assert_equivariant, random_arrays, transform
from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.errors import ArgumentError
from tvm_equi.graph import DEFAULT_PIPELINE, TensorProductGraph, interpret
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.types import ValueType

SETTINGS = Settings(6, 2, 2, 1, 3, 8)


def model(fuse: object = Fuse()) -> tuple[TensorProductGraph, dict[str, np.ndarray]]:
    """A model of two layers, and random arrays for it."""
    graph = fuse(Prune()(interaction_graph(SETTINGS, "float64")))
    arrays = random_arrays(graph, 0)
    rng = np.random.default_rng(1)
    for name in graph.parameters:
        if name.endswith("fc.layer1.weight"):  # paths of several sizes
            num = len(arrays[name]) // 8 // SETTINGS.num_channels
            factors = np.repeat(np.geomspace(1, 0.1, num), SETTINGS.num_channels)
            arrays[name] *= np.tile(factors, 8)
        elif name.startswith("layers"):
            arrays[name] *= rng.lognormal(0, 1.5, arrays[name].shape)
    return graph, arrays


def tensors(graph: TensorProductGraph, arrays: dict) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(arrays[name]) for name in graph.parameters}


def values_after(pruned: object, arrays: dict) -> dict[str, np.ndarray]:
    """Outputs of the smaller graph."""
    own = {name: value.detach().numpy() for name, value in pruned.module.named_parameters()}
    inputs = {name: arrays[name] for name in pruned.module.graph.inputs}
    return {**inputs, **own}


@pytest.mark.parametrize("fuse", [Fuse(), Fuse(radial=True), lambda graph: graph])
def test_paths_and_channels_with_zero_weights_go_for_nothing(fuse: object) -> None:
    graph, arrays = model(fuse)
    # Channel 2 of the scalars and channels 1, 4 of the vectors after the first gate: the layers
    # that make them give zero, so that all that reads them adds nothing.
    for name in ("layers.0.mix", "layers.0.skip"):
        layer = graph.node(name).operation
        start = 0
        for path, size in zip(layer.paths, layer.weight_sizes(), strict=True):
            block = arrays[f"{name}.weight"][start : start + size]
            out = graph.types[name].segments[path.i_out]
            matrix = block.reshape(-1, out.mul)
            if path.i_out == 0:
                matrix[:, 2] = 0
            if out.degree == 1:
                matrix[:, [1, 4]] = 0
            start += size
    # One path of the second convolution has no weights.
    last = arrays["layers.1.fc.layer1.weight"].reshape(8, -1)
    last[:, :6] = 0
    before = interpret(graph, arrays)["energy"]
    pruned = tvm_equi.prune(graph, 0.0, parameters=tensors(graph, arrays))
    smaller = pruned.module.graph
    after_arrays = values_after(pruned, arrays)
    np.testing.assert_allclose(interpret(smaller, after_arrays)["energy"], before, rtol=1e-12)
    assert pruned.report.after < pruned.report.before
    assert pruned.report.num_after < pruned.report.num_before
    what = [item.what for item in pruned.report.removed]
    assert sum(text.startswith("path") for text in what) >= 1
    assert "1 of the channels of 6x0e" in what
    assert "2 of the channels of 6x1o" in what
    assert Prune()(smaller) == smaller
    again = tvm_equi.prune(pruned.module, 0.0)
    assert again.module.graph == smaller
    assert again.report.removed == ()


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("channels", [False, True])
def test_any_threshold_keeps_the_symmetry(threshold: float, channels: bool) -> None:
    graph, arrays = model()
    pruned = tvm_equi.prune(graph, threshold, parameters=tensors(graph, arrays), channels=channels)
    after = values_after(pruned, arrays)
    smaller = pruned.module.graph
    forces = TensorProductGraph(smaller.nodes, (*smaller.outputs, "layers.0.mixed"))
    assert_equivariant(forces, after)
    assert pruned.report.removed
    assert all(item.score < threshold for item in pruned.report.removed)
    what = {item.what.split()[0] for item in pruned.report.removed}
    assert what == ({"path"} if not channels else {"path", *"12345"} & what)


def test_more_goes_at_higher_thresholds_and_counts_fall() -> None:
    graph, arrays = model()
    found = [
        tvm_equi.prune(graph, t, parameters=tensors(graph, arrays)).report
        for t in (0.0, 0.2, 0.5, 0.9)
    ]
    adds = [report.after.multiply_adds for report in found]
    assert adds == sorted(adds, reverse=True)
    assert adds[-1] < adds[0] == found[0].before.multiply_adds


def test_report_is_a_table() -> None:
    graph, arrays = model()
    text = str(tvm_equi.prune(graph, 0.5, parameters=tensors(graph, arrays)).report)
    lines = text.splitlines()
    assert lines[0].split() == ["operation", "left", "out", "relative", "size"]
    assert any("layers.1." in line and "path 6x" in line for line in lines)
    assert lines[-3].startswith("multiply-adds: ")
    assert lines[-1].endswith("% less)")


def test_channels_stay_in_multiples() -> None:
    graph, arrays = model()
    pruned = tvm_equi.prune(graph, 0.7, parameters=tensors(graph, arrays), multiple=4)
    irreps = pruned.module.graph.types["layers.0.gate"].segments
    assert {irrep.mul for irrep in irreps} <= {4, 6}


def test_sizes_are_measured_on_data() -> None:
    """A leg that is small in the data, and not by its weights, is found on data alone."""
    build = tvm_equi.graph.GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="node")
    y = build.input("y", "1x0e", rows="node")
    paths = [(0, 0, 0, "uvu", True, 1.0), (1, 0, 1, "uvu", True, 1.0)]
    graph = build.graph(build.tensor_product("z", x, y, "2x0e+2x1o", paths))
    weights = {"z.weight": torch.ones(4, dtype=torch.float64)}
    data = {
        "x": torch.cat([torch.ones(5, 2), 1e-3 * torch.ones(5, 6)], 1).double(),
        "y": torch.ones(5, 1).double(),
    }
    assert not tvm_equi.prune(graph, 0.1, parameters=weights).report.removed
    (gone,) = tvm_equi.prune(graph, 0.1, parameters=weights, data=data).report.removed
    assert gone.what == "path 2x1o x 1x0e -> 2x1o"
    assert gone.score == pytest.approx(1e-3 * 3**0.5, rel=1e-6)


def test_the_smaller_module_compiles() -> None:
    layer = tvm_equi.Linear("8x0e+4x1o", "4x0e+4x1o")
    with torch.no_grad():
        layer.weight[32:] = 0
    pruned = tvm_equi.prune(layer, 0.0)
    artifact = tvm_equi.compile(pruned.module, derivatives=1)
    x = torch.randn(3, 20)
    torch.testing.assert_close(artifact(x), layer(x))
    assert sum(p.numel() for p in artifact.parameters()) == 32


def test_refusals() -> None:
    graph, arrays = model()
    given = tensors(graph, arrays)
    with pytest.raises(ArgumentError, match="prune: threshold: expected 0 or more and below 1"):
        tvm_equi.prune(graph, 1.0, parameters=given)
    with pytest.raises(ArgumentError, match="prune: multiple: expected 1 or more, got 0"):
        tvm_equi.prune(graph, 0.1, parameters=given, multiple=0)
    with pytest.raises(ArgumentError, match=r"prune: parameters: expected a value of 'embed"):
        tvm_equi.prune(graph, 0.1)
    with pytest.raises(ArgumentError, match="prune: data"):
        tvm_equi.prune(graph, 0.1, parameters=given, data={"position": torch.zeros(1)})


def test_default_pipeline_runs_on_it() -> None:
    graph, arrays = model()
    pruned = tvm_equi.prune(graph, 0.5, parameters=tensors(graph, arrays))
    assert DEFAULT_PIPELINE(pruned.module.graph) == pruned.module.graph


def test_why_entries_are_never_dropped() -> None:
    """Without the smallest entry of C(1,2,1) the product is a quarter off; whole, it is exact."""
    whole = wigner_3j(1, 2, 1)
    spoilt = whole.copy()
    sizes = np.where(whole == 0, np.inf, np.abs(whole))
    spoilt[np.unravel_index(sizes.argmin(), sizes.shape)] = 0
    quaternion = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.2, 0.7]).double(), dim=0)
    one, two = (transform(ValueType(f"1x{irrep}", "node"), quaternion, 1) for irrep in ("1o", "2e"))
    for block, is_exact in ((whole, True), (spoilt, False)):
        turned = np.einsum("ijk,ai,bj,ck->abc", block, one, two, one)
        error = np.linalg.norm(turned - block) / np.linalg.norm(block)
        assert error < 1e-12 if is_exact else error > 0.2
