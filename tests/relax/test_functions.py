from typing import Any

import pytest
import torch
import tvm
from tvm import relax, tirx

from tvm_equi.relax.functions import LEGALIZATIONS


def compiled(operator: Any, dtype: str) -> Any:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([tirx.Var("n", "int64")], dtype))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(operator(x)))
    module = relax.transform.LegalizeOps(LEGALIZATIONS)(builder.get())
    executable = relax.build(module, tvm.target.Target("llvm"))
    return relax.VirtualMachine(executable, tvm.cpu())["main"]


def points(dtype: torch.dtype) -> torch.Tensor:
    wide = 110.0 if dtype == torch.float32 else 760.0
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-30, -1e-30])
    return torch.cat([torch.linspace(-wide, wide, 40001), torch.linspace(-1, 1, 4001), special]).to(
        dtype
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["exp", "sigmoid", "tanh"])
def test_values_are_within_a_few_units_in_the_last_place(name: str, dtype: torch.dtype) -> None:
    x = points(dtype)
    found = torch.from_dlpack(compiled(getattr(relax.op, name), str(dtype)[6:])(x))
    wanted = getattr(torch, name)(x.double())
    units = 3 if dtype == torch.float32 else 4
    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found.isinf(), wanted.to(dtype).isinf())
    torch.testing.assert_close(
        found.double(), wanted.to(dtype).double(), rtol=units * eps, atol=tiny, equal_nan=True
    )
