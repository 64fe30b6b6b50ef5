"""Kernels called as the runtime calls them, compared with `evaluate`."""

import numpy as np
import torch

from tests.lower.test_primfunc import MODES
from tvm_equi.algebra.convolution import NODE_ROWS, pass_order, passes
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.runtime import gpu
from tvm_equi.runtime.device_order import device_order

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2.0**-8}
"""Of the largest element; for bfloat16 half a unit in the last place, since sums are in float32."""

CASES = [(*mode, kind) for mode in MODES for kind in ("row", "shared")]
CASES += [(*mode, "none") for mode in MODES if "w" not in mode[0]]
"""Every mode with every kind of weights that it can have."""


def check(
    kernel: Kernel,
    edges: torch.Tensor | None = None,
    counts: tuple[int, int] = (0, 0),
    *,
    rows: int = 37,
    dtype: torch.dtype = torch.float64,
    seed: int = 7,
) -> list[torch.Tensor]:
    """The outputs of a kernel on rows, or over edges, which equal the oracle's."""
    sizes = {"row": rows if edges is None else edges.shape[1]}
    sizes |= dict(zip(NODE_ROWS, counts, strict=True))
    rng = np.random.default_rng(seed)
    arrays = []
    for name in kernel.inputs:
        operand = kernel.operand(name)
        lead = () if operand.rows == "shared" else (sizes[operand.rows],)
        drawn = torch.tensor(rng.standard_normal((*lead, operand.dim))).to(dtype)
        arrays.append(drawn.double().numpy())
    nodes = {}
    if edges is not None:
        pairs = zip(NODE_ROWS, edges.numpy(), counts, strict=True)
        nodes = {kind: Nodes(ends, count) for kind, ends, count in pairs}
    expected = evaluate(kernel, arrays, nodes)
    given = [torch.tensor(array, dtype=dtype) for array in arrays]
    found = _run(kernel, given, edges, counts, sizes)
    for name, got, wanted in zip(kernel.outputs, found, expected, strict=True):
        scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
        error = float(np.abs(got.double().numpy() - wanted).max(initial=0.0)) / scale
        assert error < TOLERANCE[dtype], f"{name} of {kernel!r}: relative error {error}"
    return found


def _run(
    kernel: Kernel,
    inputs: list[torch.Tensor],
    edges: torch.Tensor | None,
    counts: tuple[int, int],
    sizes: dict[str, int],
) -> list[torch.Tensor]:
    """The outputs, by the calls that the runtime makes."""
    device = torch.device("cpu")
    if edges is None:
        return gpu.call(gpu.gpu_kernel(kernel, inputs[0].dtype, device), inputs, sizes)
    outputs: dict[int, torch.Tensor] = {}
    for part in passes(kernel):
        side = NODE_ROWS.index(pass_order(part.kernel))
        order = device_order(edges, side, counts[side], counts[1 - side])
        ready = gpu.gpu_kernel(part.kernel, inputs[0].dtype, device)
        found = gpu.call(ready, inputs, sizes, order)
        outputs |= dict(zip(part.outputs, found, strict=True))
    return [outputs[number] for number in range(len(outputs))]
