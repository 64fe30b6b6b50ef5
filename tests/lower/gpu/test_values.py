"""Where elements lie, and that they are read and written there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tests.lower.gpu.helpers import run_emitted
from tvm_equi.algebra.contraction import PAIRS, Layout, Operand, Path, Rows, Segment
from tvm_equi.lower.gpu.values import At, Letters, Memory, column, lead, read, write

OPERAND = Operand((Segment(3, 1), Segment(4, 5)))


def memory(buffers: dict[str, object], operand: Operand = OPERAND, **changes: object) -> Memory:
    operands = dict.fromkeys(buffers, operand)
    known = Memory(operands, buffers, frozenset(), {}, "receiver", "float32")
    return replace(known, **changes)  # type: ignore[arg-type]


def test_channels() -> None:
    path = Path((0, 0), ("uv", "v"), (("u", 3), ("v", 4)), 1.0)
    found = [Letters("v", v, "u").at(u).channel(path, "uv") for u in range(3) for v in range(4)]
    assert found == list(range(12))
    here = Letters("u", 2, "v").at(3)
    assert [here.channel(path, pattern) for pattern in ("uv", "vu", "u", "v", "")] == [
        11,
        11,
        2,
        3,
        0,
    ]
    assert here.value("w") == 0


@pytest.mark.parametrize("n", [2, 5, 9])
def test_pairs(n: int) -> None:
    path = Path((0, 0), ("u", PAIRS), (("u", n), ("v", n)), 1.0)
    pairs = [(u, v) for u in range(n) for v in range(u + 1, n)]
    found = [Letters("v", v, "u").at(u).channel(path, PAIRS) for u, v in pairs]
    assert found == list(range(n * (n - 1) // 2))


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_columns(layout: Layout) -> None:
    operand = replace(OPERAND, layout=layout)
    found = [column(operand, 1, channel, k) for channel in range(4) for k in range(5)]
    inside = np.arange(20) if layout == "mul_ir" else np.arange(20).reshape(5, 4).T.ravel()
    assert found == (3 + inside).tolist()
    assert [column(operand, 0, channel, 0) for channel in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("rows", "wanted"), [("row", (1,)), ("receiver", (2,)), ("sender", (3,)), ("shared", ())]
)
def test_leading_indices(rows: Rows, wanted: tuple[int, ...]) -> None:
    here = memory({"x": None}, Operand(OPERAND.segments, rows=rows))
    at = At(row=1, node=2, other=3, chunk=4, part=5)
    assert lead(here, "x", at) == wanted
    assert lead(replace(here, partial=frozenset({"x"})), "x", at) == (4,)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("part", [-1, 2])
def test_written_to_the_node_or_to_its_part(part: int, add: bool) -> None:
    tensors = {name: torch.ones(4, OPERAND.dim) for name in ("z", "parts")}

    def emit(z: object, parts: object) -> None:
        here = memory({"z": z}, Operand(OPERAND.segments, rows="receiver"), parts={"z": parts})
        values = [tirx.FloatImm("float32", 10.0 + k) for k in range(5)]
        at = At(row=0, node=1, part=T.bind(tirx.IntImm("int64", part)))
        write(here, "z", 1, 2, at, values, add=add)

    run_emitted(emit, tensors)
    wanted = {name: np.ones((4, OPERAND.dim)) for name in tensors}
    row = wanted["parts"][2] if part >= 0 else wanted["z"][1]
    row[3 + 2 * 5 : 3 + 3 * 5] = np.arange(10, 15) + add
    for name, tensor in tensors.items():
        assert np.array_equal(tensor.numpy(), wanted[name])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_values_are_computed_in_the_dtype_of_sums(dtype: str) -> None:
    x = 300 + torch.arange(OPERAND.dim, dtype=getattr(torch, dtype)).reshape(1, -1)
    out = torch.zeros_like(x)

    def emit(x: object, out: object) -> None:
        here = memory({"x": x, "out": out})
        found = read(here, "x", 1, 3, At())
        small = tirx.FloatImm("float32", 2.0**-10)
        # The squares are above the largest float16.
        write(here, "out", 1, 0, At(), [value * value * small for value in found])

    run_emitted(emit, {"x": x, "out": out})
    wanted = (x[0, 18:23].float() ** 2 * 2.0**-10).to(x.dtype)
    assert wanted.isfinite().all()
    assert out[0, 3:8].tolist() == wanted.tolist()
    assert not out[0, :3].any()
    assert not out[0, 8:].any()
