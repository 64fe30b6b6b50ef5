"""The CPU rule: decisions from a kernel's structure, and the schedule that follows.

In: a kernel, a dtype and a target. Out: a scheduled IRModule. The rule needs no tuning: one vector
register of lanes over channels, tiles of rows where a weight matrix is shared, chunks of rows in
parallel.
"""

from __future__ import annotations

from typing import Any

from tvm_equi.algebra.convolution import is_convolution, pass_order
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.arguments import copied_inputs
from tvm_equi.lower.convolution import lower_convolution
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.names import COPY_BLOCK, ROWS_BLOCK
from tvm_equi.lower.primfunc import lower
from tvm_equi.schedule.targets import CpuTarget

ROW_TILE = 16
"""Rows whose products with one shared matrix are computed together: a matrix element, or a partial
sum of its gradient, is then loaded once for all of them."""

RUN_BYTES = 1 << 18
"""Bytes of operands that a run of edges touches: those of two runs, one in use and one on its way,
must leave room in the second-level cache for the node's sums and tables."""

TILE_BYTES = 5 << 18
"""Bytes of values on edges that a tile of edges keeps: a larger tile reads a shared matrix more
seldom, until these values push the matrix out of the second-level cache."""

MAX_EDGE_TILE = 64

MIN_STREAMS, MIN_FETCHED_BYTES = 6, 1 << 14
"""Segments and bytes of a row from which operands are fetched ahead. With them products on rows are
1.4 to 2.2 times as fast where operands exceed the caches, and 0.96 to 1.03 where they do not; with
fewer, 0.85 to 1.03."""

CHUNK_BYTES = 1 << 17
"""Bytes of operands that one task of the parallel loop touches: long enough to hide a task's
start, short enough to balance."""


def decide(kernel: Kernel, dtype: str, target: CpuTarget) -> Decisions:
    """The rule's decisions for a kernel.

    Args:
        kernel: the program.
        dtype: "float32" or "float64".
        target: the CPU.
    """
    lanes = target.lanes(dtype)
    values = (kernel.operand(name) for name in (*kernel.inputs, *kernel.outputs))
    row_bytes = sum(value.dim for value in values if value.rows == "row") * (64 // lanes)
    chunk_rows = min(256, max(ROW_TILE, CHUNK_BYTES // max(1, row_bytes)))
    chunk_rows -= chunk_rows % ROW_TILE
    if not is_convolution(kernel):
        return Decisions(lanes, ROW_TILE, chunk_rows, ahead_rows=_ahead_rows(kernel, dtype))
    tile = _edge_tile(kernel, dtype)
    return Decisions(lanes, tile, chunk_rows, _run_edges(kernel, dtype))


def _ahead_rows(kernel: Kernel, dtype: str) -> int:
    """Rows ahead that operands are fetched: one, where the hardware cannot tell what comes next."""
    values = [kernel.operand(name) for name in (*kernel.inputs, *kernel.outputs)]
    values = [value for value in values if value.rows == "row"]
    streams = sum(segment.mul > 1 for value in values for segment in value.segments)
    row_bytes = sum(value.dim for value in values) * _bytes(dtype)
    return int(streams >= MIN_STREAMS and row_bytes >= MIN_FETCHED_BYTES)


def _edge_tile(kernel: Kernel, dtype: str) -> int:
    """Edges of a tile: more where a matrix is shared, as long as their values fit the cache."""
    forms = [kernel.contractions[step.contraction] for step in kernel.steps]
    if not any(form.family == "mix" and form.operands[1].rows == "shared" for form in forms):
        return ROW_TILE
    dims = [kernel.operand(name).dim for name in kernel.temporaries]
    tile = MAX_EDGE_TILE
    while tile > ROW_TILE and tile * sum(dims) * _bytes(dtype) > TILE_BYTES:
        tile //= 2
    return tile


def _bytes(dtype: str) -> int:
    return int(dtype.removeprefix("float")) // 8


def _run_edges(kernel: Kernel, dtype: str) -> int:
    """Edges of a run: a power of two of at most a tile, by the bytes that an edge touches."""
    own = pass_order(kernel)
    used = {name for step in kernel.steps for name in step.operands}
    names = used & {*kernel.inputs, *kernel.outputs}
    dims = [kernel.operand(n).dim for n in names if kernel.operand(n).rows not in ("shared", own)]
    edge_bytes = sum(dims) * _bytes(dtype)
    run = ROW_TILE
    while run > 1 and run * edge_bytes > RUN_BYTES:
        run //= 2
    return run


def schedule(kernel: Kernel, dtype: str, decisions: Decisions) -> Any:
    """The IRModule of a kernel, scheduled.

    Args:
        kernel: the program.
        dtype: "float32" or "float64".
        decisions: of the rule, or of a record.
    """
    from tvm import s_tir

    blocks = [ROWS_BLOCK]
    if is_convolution(kernel):
        function = lower_convolution(kernel, dtype, decisions)
        blocks += [f"{COPY_BLOCK}_{name}" for name in copied_inputs(kernel)]
    else:
        function = lower(kernel, dtype, decisions)
    state = s_tir.Schedule(function)
    for block in blocks:
        (loop,) = state.get_loops(state.get_sblock(block))
        state.parallel(loop)
    return state.mod
