"""One small case in a process of its own, under Oclgrind: `python -m ... NAME ORDER [BARRIER]`.

BARRIER is the number of one that is left out of the code.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyopencl as cl
import torch

from tests.gpu_schedules import opencl
from tests.lower.test_convolution import fused, random_edges
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import NODE_ROWS, convolution_kernel, pass_order, passes, stages
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import linear_kernel
from tvm_equi.runtime import gpu
from tvm_equi.runtime.device_order import device_order

COUNTS = (6, 5)
NUM_ROWS = {"couple-shared": 70}
"""Rows of a case: here enough for two chunks of several tiles each."""
BARRIER = "barrier(CLK_LOCAL_MEM_FENCE);"


def edges() -> torch.Tensor:
    """Two nodes have edges enough for several parts; the last receiver has none."""
    found = random_edges(110, 6, 4)
    found[:, :70] = torch.tensor([[3], [2]])
    return found


def linear() -> Kernel:
    """Both matrices take more than one tile of depth, in each direction."""
    segments = (((19, 0), (9, 1)), ((11, 0), (10, 1)))
    return linear_kernel(*segments, ((0, 0, 0.5), (1, 1, 0.7)), weight_rows="shared")


ROWS: dict[str, Callable[[], Kernel]] = {
    "couple": lambda: product("uvu", (9, 1, 9), "row"),
    "couple-alone": lambda: product("uvu", (3, 1, 3), "row"),
    "couple-loop": lambda: product("uvuv", (9, 2, 18), "row"),
    "couple-shared": lambda: product("uvu", (9, 1, 9), "shared"),
    "mix": lambda: product("uvw", (3, 2, 4), "row"),
    "mix-shared": lambda: product("uvw", (3, 2, 4), "shared"),
    "product": linear,
    "select": lambda: product("uvu<v", (4, 4, 6), "none"),
}
EDGES: dict[str, Callable[[], Kernel]] = {
    "edges": lambda: convolution_kernel(product("uvu", (9, 1, 9), "row")),
    "edges-alone": lambda: convolution_kernel(product("uvu", (3, 1, 3), "row")),
    "edges-loop": lambda: convolution_kernel(product("uvuv", (9, 2, 18), "row")),
    "edges-mix": lambda: convolution_kernel(product("uvw", (3, 2, 4), "row")),
    "edges-select": lambda: stages(product("uvu<v", (4, 4, 6), "none")).edges,
    "edges-shared": lambda: convolution_kernel(product("uvu", (9, 1, 9), "shared")),
    "edges-inside": lambda: fused(radial=True, harmonics=True),
}

WRONG = """
__kernel void race(__global float* x) { x[0] = get_global_id(0); }
__kernel void bounds(__global float* x) { x[get_global_id(0) + 100] = 1; }
__kernel void unset(__global float* x) {
  __local float y[8];
  if (get_local_id(0) == 0) y[0] = 1;
  x[get_global_id(0)] = y[get_local_id(0)];
}
"""
"""What must be found."""


def run_wrong(name: str) -> None:
    """Runs a kernel of `WRONG`."""
    queue = opencl.queue()
    built = cl.Program(queue.context, WRONG).build()
    buffer = cl.Buffer(queue.context, cl.mem_flags.READ_WRITE, 32)
    cl.enqueue_copy(queue, buffer, np.zeros(8, np.float32))
    cl.Kernel(built, name)(queue, (8,), (8,), buffer)
    queue.finish()


def leave_out(barrier: int) -> None:
    """Leaves one barrier out of all code that is compiled from now on."""
    whole = opencl.assembly

    def assembly(*of: Any) -> str:
        before, *after = whole(*of).split(BARRIER)
        kept = ["" if number == barrier else BARRIER for number in range(len(after))]
        return before + "".join(map("".join, zip(kept, after, strict=True)))

    opencl.assembly = assembly


def check(kernel: Kernel, over_edges: bool, num_rows: int) -> None:
    """Runs a kernel and compares its outputs with the oracle."""
    graph = edges()
    sizes = {"row": graph.shape[1] if over_edges else num_rows}
    sizes |= dict(zip(NODE_ROWS, COUNTS, strict=True))
    rng = np.random.default_rng(0)
    arrays = []
    for name in kernel.inputs:
        operand = kernel.operand(name)
        lead = () if operand.rows == "shared" else (sizes[operand.rows],)
        arrays.append(rng.standard_normal((*lead, operand.dim)))
    nodes = {r: Nodes(e, c) for r, e, c in zip(NODE_ROWS, graph.numpy(), COUNTS, strict=True)}
    expected = evaluate(kernel, arrays, nodes) if over_edges else evaluate(kernel, arrays)
    given = [torch.tensor(array) for array in arrays]
    gpu.load_gpu_kernel = opencl.as_function
    for outputs, part in (
        [(p.outputs, p.kernel) for p in passes(kernel)]
        if over_edges
        else [(range(len(kernel.outputs)), kernel)]
    ):
        ready = gpu.gpu_kernel(part, torch.float64, torch.device("cpu"))
        order: tuple[torch.Tensor, ...] = ()
        if over_edges:
            side = NODE_ROWS.index(pass_order(part))
            order = device_order(graph, side, COUNTS[side], COUNTS[1 - side])
        for number, found in zip(outputs, gpu.call(ready, given, sizes, order), strict=True):
            np.testing.assert_allclose(found.numpy(), expected[number], rtol=1e-10, atol=1e-10)


if __name__ == "__main__":
    case, order = sys.argv[1], int(sys.argv[2])
    assert opencl.queue().device.name.startswith("Oclgrind")
    for number in sys.argv[3:]:
        leave_out(int(number))
    if case in ROWS | EDGES:
        kernel = derivatives((ROWS | EDGES)[case]())[order]
        check(kernel, case in EDGES, NUM_ROWS.get(case, 11))
    else:
        run_wrong(case)
