"""A zero that changes from one iteration to the next as far as LLVM can tell.

In: the index of a loop. Out: an index that is zero. An address with it added is read anew in every
iteration. Without it LLVM reads a table of coefficients before the loop over blocks of lanes, one
vector for each element, and keeps what exceeds the registers on the stack: for mace-large, 215
vectors, 14 kB, where an operand of each multiply-add could be broadcast from 4 bytes at no cost
(forward on rows: 3.2 to 2.6 microseconds a row).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.vector import Expr

_NAME = "tvm_equi_zero"

_SOURCE = f"""
define linkonce_odr i64 @{_NAME}(i64 %index) alwaysinline nounwind {{
  %zero = call i64 asm "", "=r,0,r"(i64 0, i64 %index)
  ret i64 %zero
}}
"""


@contextmanager
def opaque_zeros() -> Iterator[None]:
    """Code that may use `varying_zero`."""
    with T.attr(tirx.const(0, "int32"), "pragma_import_llvm", _SOURCE):
        yield


def varying_zero(index: Expr) -> Expr:
    """Zero, bound where it is called.

    Args:
        index: of the loop in which nothing that depends on it is to be hoisted.
    """
    if isinstance(index, int):
        return 0
    return T.bind(T.call_extern("int64", _NAME, tirx.Cast("int64", index)))
