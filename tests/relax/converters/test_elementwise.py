from typing import Any

import pytest
import torch

from tests.programs import capture_function, check_function
from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.translate import translate

SIZES = {"x": ("rows", 6), "y": ("rows", 6), "n": ("rows", 1)}


def unary(x: torch.Tensor, y: torch.Tensor, n: torch.Tensor) -> dict[str, torch.Tensor]:
    positive, small = x.abs() + 0.1, torch.tanh(x)
    names = "abs ceil cos cosh erf exp floor neg round sigmoid sign sin sinh tanh trunc atan asinh"
    found = {name: getattr(torch, name)(x) for name in names.split()}
    found |= {name: getattr(torch, name)(positive) for name in ("log", "sqrt", "rsqrt")}
    found |= {name: getattr(torch, name)(small) for name in ("acos", "asin", "atanh", "tan")}
    found["acosh"] = torch.acosh(positive + 1)
    found["reciprocal"] = torch.reciprocal(positive)
    found["silu"] = torch.nn.functional.silu(x)
    found["relu"] = torch.relu(x)
    return found


def binary(x: torch.Tensor, y: torch.Tensor, n: torch.Tensor) -> dict[str, torch.Tensor]:
    shorter = n.long()
    return {
        "add": torch.add(x, y, alpha=2.5),
        "sub": torch.sub(x, n, alpha=-2),
        "rsub": torch.rsub(x, y, alpha=3.0),
        "scalar": 2.0 - x,
        "mul": x * n,
        "div": x / (n.abs() + 1),
        "by_number": 1 / (y.abs() + 2),
        "integers": shorter / 3,
        "mixed": x * shorter,
        "masked": x * (y < 0),
        "remainder": torch.remainder(x, 0.75),
        "atan2": torch.atan2(x, y),
        "maximum": torch.maximum(x, y),
        "minimum": torch.minimum(x, n),
        "clamp": x.clamp(-0.5, 0.75),
        "clamp_min": x.clamp_min(0.25),
        "clamp_max": x.clamp_max(y),
        "where": torch.where(x > y, x, 0.0),
        "masked_fill": x.masked_fill(y >= 0.5, -1.0),
        "size": x * x.shape[0],
    }


def derivatives(x: torch.Tensor, y: torch.Tensor, n: torch.Tensor) -> dict[str, torch.Tensor]:
    given = x.detach().requires_grad_()
    functions = {
        "silu": torch.nn.functional.silu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "normalize": lambda x: torch.nn.functional.normalize(x, dim=-1),
        "power": lambda x: x**4,
    }
    return {
        name: torch.autograd.grad((function(given) * y).sum(), given)[0]
        for name, function in functions.items()
    }


@pytest.mark.parametrize("function", [unary, binary, derivatives])
def test_values_are_those_of_torch(function: Any) -> None:
    check_function(function, SIZES)


def test_float32() -> None:
    check_function(unary, SIZES, dtype=torch.float32)


def test_an_operator_without_converter_is_named_with_the_line() -> None:
    captured = capture_function(lambda x: {"out": torch.special.zeta(x, 2.0)}, {"x": ("rows",)})
    with pytest.raises(UnsupportedError, match=r"got aten.special_zeta.other_scalar"):
        translate(captured)
