"""What is legal: one predicate for the rule, the tuner and whoever reads a record.

In: decisions, a kernel, a dtype and a target. Out: what is wrong with them, in words, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from tvm_equi.algebra.convolution import is_convolution
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.schedule.targets import CpuTarget, GpuTarget

MAX_TABLE_EDGES = 64
"""Edges of a tile: their tables of coefficients must fit the first-level cache."""

SHARED_BYTES = 48 << 10
"""Shared memory that a block has on every GPU."""

MAX_THREADS = 1024
WARP = 32

Rule = tuple[bool, str]
"""(whether it is kept, what is said if not)."""


def illegality(
    decisions: Decisions | GpuDecisions, kernel: Kernel, dtype: str, target: CpuTarget | GpuTarget
) -> str:
    """What is wrong with decisions, or "" if they are legal.

    Args:
        decisions: to look at; each of its type.
        kernel: the program.
        dtype: of its values.
        target: the CPU or GPUs.
    """
    if isinstance(target, CpuTarget) and isinstance(decisions, Decisions):
        rules = _cpu_rules(decisions, kernel, dtype, target)
    elif isinstance(target, GpuTarget) and isinstance(decisions, GpuDecisions):
        rules = _gpu_rules(decisions, dtype)
    else:
        return f"expected decisions for {target.name}, got {type(decisions).__name__}"
    return next((text for is_kept, text in rules if not is_kept), "")


def _cpu_rules(
    decisions: Decisions, kernel: Kernel, dtype: str, target: CpuTarget
) -> Iterator[Rule]:
    """What must hold on a CPU; each rule may take those before it for granted."""
    most, over_edges = 4 * target.lanes(dtype), is_convolution(kernel)
    yield _power("lanes", decisions.lanes, most)
    yield _power("row_tile", decisions.row_tile, MAX_TABLE_EDGES)
    yield _least("chunk_rows", decisions.chunk_rows, 1)
    yield _least("run_edges", decisions.run_edges, 1 if over_edges else 0)
    yield _least("pair_sums", decisions.pair_sums, 0)
    yield _least("node_sums", decisions.node_sums, 1)
    yield _least("accumulators", decisions.accumulators, 1)
    yield _least("product_rows", decisions.product_rows, 1)
    yield _least("strip", decisions.strip, 1)
    yield _least("max_unrolled", decisions.max_unrolled, 0)
    yield _least("ahead_rows", decisions.ahead_rows, 0)
    associations = ("table", "inline", "pairs")
    yield (
        decisions.association in associations,
        f"association: expected {', '.join(associations)}, got {decisions.association!r}",
    )
    yield (
        not decisions.is_streamed or (target.is_x86 and not over_edges),
        "is_streamed: expected an x86-64 CPU and no convolution",
    )


def _gpu_rules(decisions: GpuDecisions, dtype: str) -> Iterator[Rule]:
    """What must hold on a GPU; each rule may take those before it for granted."""
    size = 8 if dtype == "float64" else 4
    for name in ("block_threads", "max_lanes"):
        value = getattr(decisions, name)
        yield (
            WARP <= value <= MAX_THREADS and value % WARP == 0,
            f"{name}: expected {WARP} to {MAX_THREADS}, a multiple of {WARP}, got {value}",
        )
    yield _power("tile", decisions.tile, MAX_THREADS)
    yield _least("sums", decisions.sums, 1)
    yield _least("node_inputs", decisions.node_inputs, 0)
    yield _least("table_bytes", decisions.table_bytes, 0)
    yield _least("min_table_lanes", decisions.min_table_lanes, 1)
    yield _least("reduce_elements", decisions.reduce_elements, WARP)
    shared = decisions.table_bytes + size * decisions.reduce_elements
    yield (
        shared <= SHARED_BYTES,
        f"shared memory: expected up to {SHARED_BYTES} bytes for a block, got {shared}",
    )
    tile: tuple[int, ...] = decisions.matrix_tile
    thread: tuple[int, ...] = decisions.matrix_thread
    yield (
        (len(tile), len(thread)) == (3, 2),
        f"matrix_tile, matrix_thread: expected 3 and 2 numbers, got {tile} and {thread}",
    )
    yield _least("matrix_tile", min(tile), 1)
    yield _least("matrix_thread", min(thread), 1)
    yield (
        tile[0] % thread[0] == 0 and tile[1] % thread[1] == 0,
        f"matrix_thread: expected parts of a tile of {tile[:2]}, got {thread}",
    )
    threads = tile[0] // thread[0] * (tile[1] // thread[1])
    bytes_of_tile = size * tile[2] * (tile[0] + tile[1])
    yield (
        threads <= MAX_THREADS and bytes_of_tile <= SHARED_BYTES,
        f"matrix_tile: expected up to {MAX_THREADS} threads and {SHARED_BYTES} bytes, "
        f"got {threads} and {bytes_of_tile}",
    )


def _least(name: str, value: int, least: int) -> Rule:
    return value >= least, f"{name}: expected {least} or more, got {value}"


def _power(name: str, value: int, most: int) -> Rule:
    is_power = value >= 1 and value & (value - 1) == 0
    return is_power and value <= most, f"{name}: expected a power of two up to {most}, got {value}"
