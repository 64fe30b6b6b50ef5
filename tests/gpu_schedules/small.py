"""One small case in a process of its own, under Oclgrind: `python -m ... NAME ORDERS [BARRIER]`.

ORDERS are those of derivatives, such as 0,1,2: most of the time goes to imports. BARRIER is the
number of one that is left out of the code.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyopencl as cl
import torch

from tests.gpu_schedules import opencl
from tests.gpu_schedules.oracle import check
from tests.lower.test_convolution import fused, random_edges
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import convolution_kernel, stages
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import linear_kernel
from tvm_equi.runtime import gpu

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
    whole = opencl.generated

    def generated(*of: Any) -> str:
        before, *after = whole(*of).split(BARRIER)
        kept = ["" if number == barrier else BARRIER for number in range(len(after))]
        return before + "".join(map("".join, zip(kept, after, strict=True)))

    opencl.generated = generated


if __name__ == "__main__":
    case, orders = sys.argv[1], [int(order) for order in sys.argv[2].split(",")]
    assert opencl.queue().device.name.startswith("Oclgrind")
    for number in sys.argv[3:]:
        leave_out(int(number))
    gpu.load_gpu_kernel = opencl.as_function
    for order in orders:
        if case in ROWS:
            check(derivatives(ROWS[case]())[order], rows=NUM_ROWS.get(case, 11))
        elif case in EDGES:
            check(derivatives(EDGES[case]())[order], edges(), COUNTS)
        else:
            run_wrong(case)
