"""Tables in shared memory: where they lie, and what is in them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tvm.script.ir_builder import tirx as T

from tests.lower.gpu.helpers import run_emitted
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.lower.gpu.scalars import wide_lanes
from tvm_equi.lower.gpu.tables import TablePlan, combined, emit_tables, read_table
from tvm_equi.lower.gpu.values import At, Letters, Memory
from tvm_equi.lower.roles import Roles

DEGREES = [(1, 1, 1), (1, 1, 2), (2, 2, 3), (0, 1, 1), (3, 2, 1)]


def plan(degrees: list[tuple[int, int, int]], loop: int, dtype: str) -> TablePlan:
    """Tables of a path each, of the attributes y."""
    kernel = tensor_product_kernel(
        tuple((4, x) for x, _, _ in degrees),
        tuple((loop, y) for _, y, _ in degrees),
        tuple((4, z) for _, _, z in degrees),
        tuple(Instruction(i, i, i, "uvu", False, 0.3 + i) for i in range(len(degrees))),
        weight_rows="none",
    )
    (form,) = kernel.contractions
    roles = {number: Roles(form, path, wanted="u") for number, path in enumerate(form.paths)}
    keys = tuple((number, "y") for number in roles)
    return TablePlan(form, roles, keys, loop, dtype)


PLANS = st.builds(
    plan,
    st.lists(st.sampled_from(DEGREES), min_size=1, max_size=6),
    st.integers(1, 3),
    st.sampled_from(["float32", "float64"]),
)


@given(PLANS)
def test_tables_are_aligned_and_apart(found: TablePlan) -> None:
    lanes = wide_lanes(found.dtype)
    ends = 0
    for key in found.keys:
        assert found.starts[key] % lanes == 0
        assert ends <= found.starts[key] < ends + lanes
        ends = found.starts[key] + len(found.roles[key[0]].pattern)
    assert ends <= found.per_loop < ends + lanes
    assert found.per_loop % lanes == 0  # and so the next value's, and the next row's
    assert found.entries == found.per_loop * found.loop


@given(PLANS, st.integers(1, 9))
def test_parts_hold_every_table_once(found: TablePlan, count: int) -> None:
    parts = found.parts(count)
    assert len(parts) == min(count, len(found.keys))
    assert sorted(key for part in parts for key in part) == sorted(found.keys)
    sizes = [sum(len(found.roles[key[0]].pattern) for key in part) for part in parts]
    assert max(sizes) - min(sizes) <= max(len(roles.pattern) for roles in found.roles.values())


@pytest.mark.parametrize("loop", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_entries(dtype: str, loop: int) -> None:
    found = plan(DEGREES, loop, dtype)
    y = torch.randn(2, found.form.operands[1].dim, dtype=getattr(torch, dtype))
    rows, start = 2, 8
    tables = torch.full((start + rows * found.entries,), float("nan"), dtype=y.dtype)
    again = torch.zeros(rows, loop, len(DEGREES), 7, 7, dtype=y.dtype)

    def emit(y: object, tables: object, again: object) -> None:
        operands = {"y": found.form.operands[1]}
        memory = Memory(operands, {"y": y}, frozenset(), {}, "", dtype)
        letters = Letters("u", 0, "v")
        for row in range(rows):
            for part in found.parts(2):
                where = start + row * found.entries
                emit_tables(found, part, tables, where, memory, letters, At(row=row), exact=True)
        for row, o in np.ndindex(rows, loop):
            where = start + row * found.entries + o * found.per_loop
            for key in found.keys:
                for (i, k), value in read_table(found, key, tables, where).items():
                    T.buffer_store(again, value, [row, o, key[0], i, k])

    run_emitted(emit, {"y": y, "tables": tables, "again": again})
    assert tables[:start].isnan().all()
    for number, (roles, name) in enumerate((found.roles[n], name) for n, name in found.keys):
        dim = roles.coefficients.shape[1]
        assert name == "y"
        first = found.form.operands[1].offsets[number]
        values = y[:, first : first + loop * dim].reshape(rows, loop, dim).double().numpy()
        wanted = np.einsum("ijk,rvj->rvik", roles.coefficients, values)
        got = again[:, :, number, : wanted.shape[2], : wanted.shape[3]].numpy()
        assert np.allclose(got, wanted, rtol=0, atol=1e-5 if dtype == "float32" else 1e-14)


def test_combined_takes_the_coefficients_that_are_not_zero() -> None:
    (roles,) = plan([(1, 1, 1)], 1, "float64").roles.values()
    for i, k in roles.pattern:
        (j,) = np.flatnonzero(roles.coefficients[i, :, k])
        value = combined(roles, [1.0, 10.0, 100.0], i, k, "float64", exact=False)
        # TVM folds the product of two constants.
        assert float(value.value) == pytest.approx(10.0**j * roles.coefficients[i, j, k])
