"""Walks over rows and edges equal the oracle, thread after thread."""

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch

from tests.lower.gpu.helpers import assert_close, outputs, random_inputs
from tests.lower.test_convolution import COUNTS, EDGES, random_edges
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import convolution_kernel, passes, stages
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu import walk
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.lowering import lower_gpu
from tvm_equi.lower.gpu.terms import Terms
from tvm_equi.runtime.device_order import MIN_SEGMENT

ALONE = GpuDecisions(min_table_lanes=1000)
"""Every thread combines its coefficients itself, so that none waits for another."""


def check(
    kernel: Kernel,
    edges: torch.Tensor = EDGES,
    counts: tuple[int, int] = COUNTS,
    decisions: GpuDecisions = ALONE,
    chunks: int = 3,
    *,
    alone: bool = False,
) -> None:
    inputs = random_inputs(kernel, edges.shape[1], counts)
    nodes = {
        name: Nodes(edges[side].numpy(), counts[side])
        for side, name in enumerate(("sender", "receiver"))
    }
    wanted = evaluate(kernel, inputs, nodes)
    for part in passes(kernel):
        found = outputs(part.kernel, decisions, inputs, edges, counts, chunks, alone=alone)
        assert_close(found, [wanted[number] for number in part.outputs])


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize(("mode", "muls"), [("uvu", (3, 11, 3)), ("uvv", (3, 20, 20))])
def test_edges(mode: str, muls: tuple[int, int, int], weight_rows: str) -> None:
    kernel = convolution_kernel(product(mode, muls, weight_rows))  # type: ignore[arg-type]
    for one in derivatives(kernel)[:2]:
        check(one)


@pytest.mark.parametrize(
    "change",
    [{"sums": 1, "max_lanes": 3}, {"node_inputs": 0, "block_threads": 1}],
    ids=str,
)
def test_decisions_change_no_result(change: dict[str, int]) -> None:
    """Several launches add to the same nodes, rows and shared values."""
    for weight_rows in ("row", "shared"):
        kernel = convolution_kernel(product("uuu", (4, 4, 4), weight_rows))  # type: ignore[arg-type]
        check(derivatives(kernel)[1], decisions=replace(ALONE, **change))


def test_fewer_nodes_than_a_block_has_slots() -> None:
    """Slots without a segment write nothing; so few edges leave no segment to spare."""
    edges = random_edges(MIN_SEGMENT - 1, 7, 4)
    kernel = convolution_kernel(product("uuu", (5, 5, 5), "shared"))
    for one in derivatives(kernel)[:2]:
        check(one, edges, chunks=2)


def test_several_launches_add_to_nodes_in_memory() -> None:
    """Outputs with the loop letter, which do not fit registers; the first launch zeros them."""
    kernel = convolution_kernel(product("uvuv", (3, 2, 6), "row"))
    check(kernel, decisions=replace(ALONE, sums=1))


@pytest.mark.parametrize(("room", "wanted"), [(0, set()), (3, {0}), (7, {0}), (8, {0, 1})])
def test_operands_of_the_node_are_kept_while_there_is_room(room: int, wanted: set[int]) -> None:
    """The gradient of z, of 3 and 5 components; x and y are of the other node, and of edges."""
    backward = vjp(convolution_kernel(product("uuu", (5, 5, 5), "row")), (1,), (0,))
    found: list[Terms] = []

    def remember(*arguments: Any, **options: Any) -> Terms:
        found.append(Terms(*arguments, **options))
        return found[-1]

    with mock.patch.object(walk, "Terms", remember):
        lower_gpu(backward, "float32", GpuDecisions(node_inputs=room))
    (terms,) = found
    assert {segment for _, segment in terms.node_values} == wanted
    assert {name for name, _ in terms.node_values} <= {"i3"}


@pytest.mark.parametrize(("mul", "v", "tile"), [(3, 1, 8), (2, 3, 1)])
def test_tables_in_blocks_of_one_thread(mul: int, v: int, tile: int) -> None:
    """Each channel has a launch, which adds its part of the gradient to y."""
    decisions = GpuDecisions(block_threads=1, max_lanes=1, min_table_lanes=1, tile=tile)
    kernel = product("uvu", (mul, v, mul), "row")
    on_edges = convolution_kernel(kernel)
    check(vjp(on_edges, (0, 1), (0,)), decisions=decisions, alone=True)
    gradient = vjp(kernel, (1, 2), (0,))
    inputs = random_inputs(gradient, 11)
    found = outputs(gradient, decisions, inputs, alone=True)
    assert_close(found, evaluate(gradient, inputs))


@pytest.mark.parametrize("chunks", [1, 2, 7, 50])
def test_chunks_of_shared_outputs(chunks: int) -> None:
    gradient = derivatives(convolution_kernel(product("uuu", (5, 5, 5), "shared")))[1]
    check(gradient, chunks=chunks)
    rows = derivatives(product("uuu", (5, 5, 5), "shared"))[1]
    inputs = random_inputs(rows, 11)
    assert_close(outputs(rows, ALONE, inputs, chunks=chunks), evaluate(rows, inputs))


def test_nodes_in_several_parts() -> None:
    edges = random_edges(400, 9, 8, 3)
    edges[:, 50:330] = torch.tensor([[3], [6]])
    assert 2 * MIN_SEGMENT < 280
    for weight_rows in ("row", "shared"):
        kernel = convolution_kernel(product("uuu", (5, 5, 5), weight_rows))  # type: ignore[arg-type]
        for one in derivatives(kernel)[:2]:
            check(one, edges, (9, 10))


def test_edges_of_nodes_that_are_not_there() -> None:
    """An edge to none counts for nothing."""
    kernel = stages(product("uuu", (5, 5, 5), "row")).edges
    edges = random_edges(200, 9, 8, 5)
    edges[1, ::3] = -1
    edges[1, 1::3] = 10**12
    inputs = random_inputs(kernel, 200, (9, 8))
    kept = edges[:, 2::3]
    nodes = {n: Nodes(kept[i].numpy(), (9, 8)[i]) for i, n in enumerate(("sender", "receiver"))}
    rows = [kernel.operand(name).rows == "row" for name in kernel.inputs]
    some = [a[2::3] if is_row else a for a, is_row in zip(inputs, rows, strict=True)]
    found = outputs(kernel, ALONE, inputs, edges, (9, 8))
    assert_close(found, evaluate(kernel, some, nodes))
