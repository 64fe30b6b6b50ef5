"""Powers: by products where the exponent is a small integer, else by TVM's.

In: a tensor or number, and an exponent. Out: a step of the shape that they broadcast to.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from tvm import relax

from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.converters.elementwise import binary, reciprocal
from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.steps import Expr, Steps

MAX_POWER = 32
"""Powers up to this are products: a call of the library's `pow` costs as much as many of them."""


@converts("aten.pow.Tensor_Scalar")
def power(steps: Steps, x: Expr, exponent: float) -> Expr:
    """A power, by products where the exponent is a small integer."""
    base = steps.operand(x, steps.dtype)
    if exponent == 0.5:
        return steps.emit(relax.op.sqrt(base))
    if exponent == -0.5:
        return steps.emit(relax.op.rsqrt(base))
    if exponent == 0:
        return steps.emit(relax.op.ones_like(base))
    is_small = abs(exponent) <= MAX_POWER or "float" not in steps.dtype  # TVM has none of integers
    if float(exponent).is_integer() and is_small:
        found = _integer_power(steps, base, int(abs(exponent)))
        return found if exponent > 0 else reciprocal(steps, found)
    return steps.emit(relax.op.power(base, relax.const(exponent, steps.dtype)))


def _integer_power(steps: Steps, base: Expr, exponent: int) -> Expr:
    """A power by repeated squares."""
    factors, square = [], base
    while exponent:
        if exponent & 1:
            factors.append(square)
        exponent >>= 1
        if exponent:
            square = steps.emit(relax.op.multiply(square, square))
    return reduce(lambda left, right: steps.emit(relax.op.multiply(left, right)), factors)


@converts("aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def general_power(steps: Steps, x: Any, exponent: Any) -> Expr:
    """A power.

    Raises:
        UnsupportedError: of integers, by exponents that are no constant.
    """
    known, base = steps.constants.get(steps.node.args[1]), steps.argument(0)
    is_tensor = isinstance(base, torch.Tensor)
    if known is not None and known.numel() == 1 and is_tensor and steps.result.shape == base.shape:
        return power(steps, x, known.item())
    if "float" not in steps.dtype:
        raise UnsupportedError(f"expected a constant exponent of {steps.dtype}, got a tensor")
    return binary(steps, relax.op.power, x, exponent)
