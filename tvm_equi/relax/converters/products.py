"""Products of matrices: kernels of linear layers where one matrix has a fixed shape.

In: matrices. Out: a call of `relax.tvm_equi.run`, whose kernel is close to a tuned library's, or,
where no shape is fixed, `relax.matmul`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tvm import relax, tirx

from tvm_equi.algebra.products import linear_kernel
from tvm_equi.relax import operators
from tvm_equi.relax.converters.layout import reshaped
from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.indices import ACCUMULATOR
from tvm_equi.relax.sizes import constant
from tvm_equi.relax.steps import Expr, Steps


@lru_cache(maxsize=256)
def _plan(num_in: int, num_out: int) -> str:
    """The plan of a linear layer of scalars."""
    kernel = linear_kernel(
        ((num_in, 0),), ((num_out, 0),), ((0, 0, 1.0),), weight_rows="shared", layout="mul_ir"
    )
    return kernel.plan()


@converts("aten.mm.default")
def matmul(steps: Steps, x: Expr, y: Expr) -> Expr:
    """The product of two matrices."""
    left, right = steps.argument(0), steps.argument(1)
    rows, (num_in, num_out) = left.shape[0], right.shape
    is_fixed = isinstance(num_in, int) and isinstance(num_out, int) and num_in * num_out > 0
    if is_fixed and not isinstance(rows, int) and steps.dtype in ("float32", "float64"):
        flat = reshaped(steps, y, [constant(num_in * num_out)])
        values = steps.emit(operators.run([x, flat], _plan(num_in, num_out)))
        return steps.emit(relax.TupleGetItem(values, 0))
    return _product(steps, x, y)


def _product(steps: Steps, x: Expr, y: Expr) -> Expr:
    """A product of matrices; where it sums over rows, of any number, in `ACCUMULATOR`."""
    is_long = not isinstance(x.ty.shape.values[-1], tirx.IntImm)
    if not is_long or "float" not in steps.dtype:
        return steps.emit(relax.op.matmul(x, y, out_dtype=steps.dtype))
    exact = [steps.cast(value, ACCUMULATOR) for value in (x, y)]
    found = steps.emit(relax.op.matmul(*exact, out_dtype=ACCUMULATOR))
    return steps.cast(found, steps.dtype)


@converts("aten.addmm.default")
def addmm(steps: Steps, bias: Expr, x: Expr, y: Expr, *, beta: Any = 1, alpha: Any = 1) -> Expr:
    """A product and a bias."""
    found = _product(steps, x, y)
    if alpha != 1:
        found = steps.emit(relax.op.multiply(found, relax.const(alpha, steps.dtype)))
    if beta != 1:
        bias = steps.emit(relax.op.multiply(bias, relax.const(beta, steps.dtype)))
    return steps.emit(relax.op.add(found, bias))


@converts("aten.bmm.default")
def bmm(steps: Steps, x: Expr, y: Expr) -> Expr:
    """Products of pairs of matrices."""
    return _product(steps, x, y)
