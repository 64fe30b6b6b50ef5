"""Sizes of memory, rounded up so that few differ.

In: a module after `LowerAllocTensor`. Out: the same, where each request of memory is rounded up by
at most a quarter. The virtual machine's pool gives memory back to requests of exactly the same
size: where every step of a simulation has another number of edges it would keep memory for all.

    alloc_storage(R.shape([edges * 256]))        alloc_storage(R.shape([round_up(edges * 256)]))

After rounding, sizes between two powers of 2 are of four kinds.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

SMALLEST = 1 << 12
"""Bytes; smaller requests count as this, as they do in the pool."""


@tvm.transform.module_pass(opt_level=0, name="RoundMemory")
class RoundMemory:
    """Rounds the sizes of memory that depend on inputs."""

    def transform_module(self, module: Any, _context: Any) -> Any:
        """The module with rounded sizes."""
        rounding = _Rounding(module)
        for variable, function in module.functions_items():
            if isinstance(function, relax.Function):
                rounding.builder_.update_func(variable, rounding.visit_expr(function))
        return rounding.builder_.get()


@mutator
class _Rounding(PyExprMutator):  # type: ignore[misc]
    """Rewrites requests of memory."""

    def visit_call_(self, call: Any) -> Any:
        """The call with a rounded size."""
        call = self.visit_expr_post_order(call)
        if call.op != tvm.ir.Op.get("relax.memory.alloc_storage"):
            return call
        (size,) = call.args[0].values
        if isinstance(size, tirx.IntImm):
            return call
        shape = relax.ShapeExpr([round_up(size)])
        return relax.Call(call.op, [shape, *call.args[1:]], call.attrs, call.ty_args)


def round_up(size: Any) -> Any:
    """A size in bytes, or the next one above that has at most 3 significant bits.

    Args:
        size: int64 expression.
    """
    bytes_ = tirx.max(size, tirx.const(SMALLEST, "int64"))
    highest = tirx.const(61, "int64") - tirx.clz(bytes_).astype("int64")
    step = tirx.shift_left(tirx.const(1, "int64"), highest)
    return tirx.floordiv(bytes_ + step - 1, step) * step
