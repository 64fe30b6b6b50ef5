"""One predicate: the rule is legal, and what cannot be lowered is not."""

from dataclasses import replace

import pytest

from tests.kernels import kinds, linear, product
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.schedule import space
from tvm_equi.schedule.legality import illegality
from tvm_equi.schedule.targets import CpuTarget, GpuTarget, cpu_target, gpu_target

CPU, GPU = cpu_target("x86-64-v3"), gpu_target("sm_80")
CONV = kinds()["conv uvu"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lanes": 12}, "lanes: expected a power of two up to 32, got 12"),
        ({"lanes": 64}, "lanes: expected a power of two up to 32, got 64"),
        ({"lanes": 0}, "lanes: expected a power of two up to 32, got 0"),
        ({"row_tile": 128}, "row_tile: expected a power of two up to 64, got 128"),
        ({"chunk_rows": 0}, "chunk_rows: expected 1 or more, got 0"),
        ({"run_edges": 0}, "run_edges: expected 1 or more, got 0"),
        ({"pair_sums": -1}, "pair_sums: expected 0 or more, got -1"),
        ({"node_sums": 0}, "node_sums: expected 1 or more, got 0"),
        ({"accumulators": 0}, "accumulators: expected 1 or more, got 0"),
        ({"strip": 0}, "strip: expected 1 or more, got 0"),
        ({"max_unrolled": -1}, "max_unrolled: expected 0 or more, got -1"),
        ({"association": "x"}, "association: expected table, inline, pairs, got 'x'"),
        ({"is_streamed": True}, "is_streamed: expected an x86-64 CPU and no convolution"),
    ],
)
def test_cpu(changes: dict[str, object], text: str) -> None:
    assert illegality(_changed(CONV, CPU, changes), CONV, "float32", CPU) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"block_threads": 100}, "block_threads: expected 32 to 1024, a multiple of 32, got 100"),
        ({"max_lanes": 4096}, "max_lanes: expected 32 to 1024, a multiple of 32, got 4096"),
        ({"tile": 0}, "tile: expected a power of two up to 1024, got 0"),
        ({"sums": 0}, "sums: expected 1 or more, got 0"),
        ({"node_inputs": -1}, "node_inputs: expected 0 or more, got -1"),
        ({"min_table_lanes": 0}, "min_table_lanes: expected 1 or more, got 0"),
        ({"reduce_elements": 0}, "reduce_elements: expected 32 or more, got 0"),
        ({"table_bytes": 60 << 10}, "shared memory: expected up to 49152 bytes"),
        ({"matrix_tile": (64, 64)}, "expected 3 and 2 numbers, got"),
        ({"matrix_tile": (64, 64, 0)}, "matrix_tile: expected 1 or more, got 0"),
        ({"matrix_thread": (0, 4)}, "matrix_thread: expected 1 or more, got 0"),
        ({"matrix_thread": (3, 4)}, "matrix_thread: expected parts of a tile of (64, 64)"),
        ({"matrix_thread": (1, 1)}, "matrix_tile: expected up to 1024 threads"),
    ],
)
def test_gpu(changes: dict[str, object], text: str) -> None:
    assert text in illegality(_changed(linear(), GPU, changes), linear(), "float32", GPU)


def test_other_kinds_of_decisions() -> None:
    assert illegality(Decisions(8, 8, 8), linear(), "float32", GPU) == (
        "expected decisions for sm_80, got Decisions"
    )
    assert "got GpuDecisions" in illegality(GpuDecisions(), linear(), "float32", CPU)


def test_streaming_and_runs_depend_on_the_kernel() -> None:
    rows = product()
    assert illegality(_changed(rows, CPU, {"is_streamed": True}), rows, "float32", CPU) == ""
    arm = replace(CPU, is_x86=False)
    assert illegality(_changed(rows, CPU, {"is_streamed": True}), rows, "float32", arm)
    assert illegality(_changed(rows, CPU, {"run_edges": 0}), rows, "float32", CPU) == ""


def _changed(
    kernel: Kernel, target: CpuTarget | GpuTarget, changes: dict[str, object]
) -> Decisions | GpuDecisions:
    rule = space.rule(kernel, "float32", target)
    assert illegality(rule, kernel, "float32", target) == ""
    return replace(rule, **changes)
