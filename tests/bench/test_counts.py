"""Counted work against numbers worked out by hand."""

import pytest

from bench.counts import KERNELS, Order, Rows, Work, coupling, kernel_work, orders
from bench.workloads import Workload, select


@pytest.mark.parametrize(
    ("degrees", "nnz", "ik", "jk"),
    [
        ((0, 0, 0), 1, 1, 1),
        ((1, 0, 1), 3, 3, 3),  # the identity between x and z
        ((0, 1, 1), 3, 3, 3),
        ((1, 1, 0), 3, 3, 3),  # the dot product
        ((1, 1, 1), 6, 6, 6),  # the cross product
        ((2, 0, 2), 5, 5, 5),
        ((0, 2, 2), 5, 5, 5),
    ],
)
def test_coupling(degrees: tuple[int, int, int], nnz: int, ik: int, jk: int) -> None:
    facts = coupling(*degrees)
    assert (facts.nnz, facts.ik, facts.jk) == (nnz, ik, jk)


def test_coupling_of_mace_large() -> None:
    module = select(["mace-large"])[0].build()
    paths = [
        coupling(
            module.irreps_in1[ins.i_in1].ir.l,
            module.irreps_in2[ins.i_in2].ir.l,
            module.irreps_out[ins.i_out].ir.l,
        )
        for ins in module.instructions
    ]
    assert sum(path.ik for path in paths) == 187
    assert sum(path.nnz for path in paths) == 215


def test_orders_of_a_cross_product() -> None:
    assert orders("uvu", (4, 1, 4), (1, 1, 1)) == [Order(6, 12, 24), Order(6, 24, 12)]


def test_orders_of_a_matrix() -> None:
    # A scalar times a scalar: 3 channels to 2, one weight matrix.
    assert orders("uvw", (3, 1, 2), (0, 0, 0)) == [
        Order(1, 6, 2, "senders"),
        Order(1, 3, 6, "receivers"),
        Order(3, 6, 6),
        Order(3, 3, 6, "receivers"),
    ]


@pytest.mark.parametrize(
    ("kernel", "macs"), [("forward", 9), ("backward", 2 + 9 + 12), ("double backward", 3 + 21 + 30)]
)
def test_cheapest_order_may_differ_between_kernels(kernel: str, macs: int) -> None:
    # Forward mixes first, 1 + 6 + 2; the others couple first, as their first stage counts more.
    module = Workload("p", "fully_connected", "3x0e", "1x0e", "2x0e").build()
    assert kernel_work(module, rows=1, itemsize=4)[kernel].macs == macs


def test_work_of_a_cross_product_per_row() -> None:
    module = Workload("p", "channelwise", "4x1e", "1x1e", "4x1e").build()
    x, y, w, z = 12, 3, 4, 12
    assert kernel_work(module, rows=10, itemsize=8) == {
        "forward": Work(80 * (x + y + w + z), 10 * (6 + 12 + 24)),
        "backward": Work(80 * (2 * x + 2 * y + 2 * w + z), 10 * (12 + 36 + 48)),
        "double backward": Work(80 * (3 * x + 3 * y + 3 * w + 2 * z), 10 * (18 + 84 + 120)),
    }


def test_shared_weights_count_once() -> None:
    module = Workload("p", "fully_connected", "3x0e", "1x0e", "2x0e", shared_weights=True).build()
    work = kernel_work(module, rows=10, itemsize=4)
    assert work["forward"].num_bytes == 4 * (10 * (3 + 1 + 2) + 6)
    assert work["backward"].num_bytes == 4 * (10 * (2 * (3 + 1) + 2) + 2 * 6)
    assert work["double backward"].num_bytes == 4 * (10 * (3 * (3 + 1) + 2 * 2) + 3 * 6)


def test_work_of_mace_large() -> None:
    # 187 pairs (i, k), 47 = sum of min(d1, d3) over paths, 215 nonzeros once for all 128 channels.
    work = kernel_work(select(["mace-large"])[0].build(), rows=1000, itemsize=4)
    assert work["forward"] == Work(
        4000 * (1152 + 16 + 2176 + 9088), 1000 * (128 * (187 + 47) + 215)
    )
    assert list(work) == list(KERNELS)


def test_work_over_a_graph() -> None:
    # x and z count per node, y and w per edge; so do multiply-adds.
    module = Workload("p", "channelwise", "4x1e", "1x1e", "4x1e").build()
    x, y, w, z = 2 * 12, 10 * 3, 10 * 4, 5 * 12
    assert kernel_work(module, Rows(edges=10, senders=2, receivers=5), itemsize=4) == {
        "forward": Work(4 * (x + y + w + z), 10 * (6 + 12 + 24)),
        "backward": Work(4 * (2 * (x + y + w) + z), 10 * (12 + 36 + 48)),
        "double backward": Work(4 * (3 * (x + y + w) + 2 * z), 10 * (18 + 84 + 120)),
    }


def test_shared_matrix_multiplies_nodes() -> None:
    # Mixed at the 2 senders, 6 each, then 1 + 2 for an edge; at the 5 receivers it would cost 70.
    module = Workload("p", "fully_connected", "3x0e", "1x0e", "2x0e", shared_weights=True).build()
    work = kernel_work(module, Rows(edges=10, senders=2, receivers=5), itemsize=4)
    assert work["forward"] == Work(4 * (2 * 3 + 10 + 6 + 5 * 2), 2 * 6 + 10 * (1 + 2))
    assert work["backward"].macs == 3 * 2 * 6 + 10 * (2 * 1 + 2 * 2)
    few = kernel_work(module, Rows(edges=10, senders=9, receivers=1), itemsize=4)
    assert few["forward"].macs == 10 * (1 + 3) + 1 * 6


def test_weights_made_from_hidden_values() -> None:
    module = Workload("p", "channelwise", "4x1e", "1x1e", "4x1e").build()
    rows = Rows(edges=10, senders=2, receivers=5)
    plain, radial = (kernel_work(module, rows, 4, hidden) for hidden in (None, 8))
    for kernel, times in zip(KERNELS, (1, 3, 7), strict=True):
        assert radial[kernel].macs - plain[kernel].macs == times * 10 * 8 * 4
    assert radial["forward"].num_bytes == 4 * (2 * 12 + 10 * 3 + 10 * 8 + 8 * 4 + 5 * 12)


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="orders: mode: expected 'uvu' or 'uvw', got 'uuu'"):
        orders("uuu", (1, 1, 1), (0, 0, 0))
