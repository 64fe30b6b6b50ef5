"""Stores past the cache: only of large, aligned outputs; the values are the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
import tvm

from tests.kernels import product
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.artifact.codegen import PASS_CONFIG, compile_point
from tvm_equi.deploy.runtime import use_threads
from tvm_equi.lower import streaming
from tvm_equi.lower.decisions import Decisions
from tvm_equi.runtime.library import load_function
from tvm_equi.schedule import cpu
from tvm_equi.schedule.targets import cpu_target

if not cpu_target("host").is_x86:
    pytest.skip("x86-64 alone has these stores", allow_module_level=True)

KERNEL = product(u=64)


def function(tmp_path: Path, name: str):  # type: ignore[no-untyped-def]
    path = tmp_path / f"{name}.so"
    compile_point(KERNEL, "float32", "host", {"is_streamed": True}, path)
    return load_function(path)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("rows", [3, 900])
def test_values_whatever_the_alignment(
    rows: int, offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 900 rows of 384 elements an output has 1.4 MB: the threshold is lowered."""
    monkeypatch.setattr(streaming, "STREAM_BYTES", 1 << 20)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((rows, KERNEL.operand(name).dim)) for name in KERNEL.inputs]
    (wanted,) = evaluate(KERNEL, arrays)
    memory = torch.full((rows * wanted.shape[1] + 1,), float("nan"))
    out = memory[offset : offset + wanted.size].view(wanted.shape)
    use_threads(1)
    function(tmp_path, f"{rows}_{offset}")(
        *[torch.tensor(array, dtype=torch.float32) for array in arrays], out
    )
    assert np.abs(out.numpy() - wanted).max() < 1e-5 * np.abs(wanted).max()
    outside = memory[-1] if offset == 0 else memory[0]
    assert torch.isnan(outside)


def test_code_has_both_stores_and_a_fence() -> None:
    target = cpu_target("x86-64-v3")
    decisions = Decisions(8, 16, 64, is_streamed=True)
    with tvm.transform.PassContext(config=PASS_CONFIG):
        module = cpu.schedule(KERNEL, "float32", decisions)
        text = tvm.compile(module, target=target.tvm_target()).mod.inspect_source("asm")
    assert "vmovntps" in text
    assert "sfence" in text
    assert "vmovups" in text
    assert "call\ttvm_equi_stream" not in text


@pytest.mark.parametrize(
    ("dim", "address", "width", "wanted"),
    [
        (64, 16, 16, True),
        (64, 8, 16, False),
        (24, 0, 16, False),
        (64, 0, 2, False),
        (64, 32, 32, True),
    ],
)
def test_what_can_be_streamed(dim: int, address: int, width: int, wanted: bool) -> None:
    buffer = tvm.tirx.decl_buffer((10, dim), "float32")
    assert streaming.can_stream(buffer, address, width) == wanted
    index = tvm.tirx.Var("i", "int64")
    assert streaming.can_stream(buffer, index * 16 + address, width) == wanted
    assert not streaming.can_stream(buffer, index + address, width)
