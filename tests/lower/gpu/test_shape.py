"""Shapes of blocks: threads and shared memory stay within bounds, whatever a launch needs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.shape import Shape, shape

DECISIONS = st.builds(
    GpuDecisions,
    block_threads=st.sampled_from([32, 128, 256]),
    tile=st.sampled_from([1, 8, 32]),
    table_bytes=st.integers(0, 32 << 10),
    reduce_elements=st.integers(0, 5 << 10),
)


@settings(max_examples=300)
@given(
    st.integers(1, 256),
    st.integers(0, 8000),
    st.integers(0, 100),
    st.sampled_from([4, 8]),
    DECISIONS,
)
def test_bounds(
    lanes: int, entries: int, num_sums: int, element: int, decisions: GpuDecisions
) -> None:
    found = shape(lanes, entries, num_sums, element, decisions)
    assert found.lanes == lanes
    assert found.threads == lanes * found.slots <= max(lanes, decisions.block_threads) <= 1024
    assert 1 <= found.tile <= decisions.tile
    rows = found.slots * found.tile
    if found.has_tables:
        assert entries > 0
        assert lanes >= decisions.min_table_lanes
        assert rows * entries * element <= decisions.table_bytes
    if num_sums * found.sum_stride <= decisions.reduce_elements:
        assert rows * num_sums * found.sum_stride <= decisions.reduce_elements
    if not found.has_tables and not num_sums:
        assert found.tile == 1


@given(st.integers(1, 1024))
def test_sums_over_lanes_use_all_banks(lanes: int) -> None:
    stride = Shape(lanes, 1, 1, True).sum_stride
    assert stride in (lanes, lanes + 1)
    assert len({row * stride % 32 for row in range(32)}) == 32


def test_blocks_are_as_large_as_they_may_be() -> None:
    decisions = GpuDecisions()
    assert shape(32, 0, 0, 4, decisions) == Shape(32, 4, 1, False)
    assert shape(200, 0, 0, 4, decisions) == Shape(200, 1, 1, False)
    assert shape(32, 16, 0, 4, decisions) == Shape(32, 4, 32, True)
    # A tile is shorter before a block has fewer slots.
    assert shape(32, 100, 0, 4, decisions) == Shape(32, 4, 8, True)
    assert shape(32, 3000, 0, 4, decisions) == Shape(32, 2, 1, True)
    assert shape(32, 7000, 0, 4, decisions) == Shape(32, 4, 1, False)
    assert not shape(decisions.min_table_lanes - 1, 16, 0, 4, decisions).has_tables
