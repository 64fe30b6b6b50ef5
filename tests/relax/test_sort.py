from typing import Any

import pytest
import torch
import tvm

from tvm_equi.deploy.index_error import register_index_error
from tvm_equi.relax.sort import sort_function
from tvm_equi.runtime.topology import Topology, num_tasks

register_index_error()


@pytest.fixture(scope="module")
def functions() -> list[Any]:
    found = []
    for side in (0, 1):
        function = sort_function(side).with_attr("global_symbol", "sort")
        found.append(tvm.compile(function, target=tvm.target.Target("llvm"))["sort"])
    return found


def sort(function: Any, edge_index: torch.Tensor, senders: int, receivers: int, side: int) -> Any:
    edges, nodes = edge_index.shape[1], (senders, receivers)[side]
    shapes = [(edges,)] * 3 + [(nodes + 1,), (2, num_tasks(edges) + 1)]
    order = [torch.full(shape, -7) for shape in shapes]
    function(edge_index, senders, receivers, *order)
    return order


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("edges", "senders", "receivers"),
    [(0, 0, 0), (0, 3, 2), (1, 1, 1), (40, 7, 9), (3000, 40, 60), (30000, 3, 500), (2000, 1, 1)],
)
def test_orders_are_those_of_the_runtime(
    functions: list[Any], edges: int, senders: int, receivers: int, side: int
) -> None:
    generator = torch.Generator().manual_seed(edges)
    rows = [
        torch.randint(0, max(count, 1), (edges,), generator=generator)
        for count in (senders, receivers)
    ]
    edge_index = torch.stack(rows).as_strided((2, edges), (edges, 1))  # TVM's strides of [2, 0]
    wanted = Topology(edge_index, (senders, receivers)).order(("sender", "receiver")[side])
    found = sort(functions[side], edge_index, senders, receivers, side)
    for name, value, other in zip(wanted._fields, found, wanted, strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize(("row", "bad"), [(0, 5), (0, -1), (1, 3), (1, 2**50)])
def test_an_index_out_of_range_is_an_error(functions: list[Any], row: int, bad: int) -> None:
    edge_index = torch.zeros((2, 8), dtype=torch.int64)
    edge_index[row, 5] = bad
    end, count = (("senders", 5), ("receivers", 3))[row]
    message = (
        rf"edge_index: {end} \(row {row}\): expected indices from 0 to {count - 1}, got {bad}$"
    )
    for side in (0, 1):
        with pytest.raises(IndexError, match=message):
            sort(functions[side], edge_index, 5, 3, side)
