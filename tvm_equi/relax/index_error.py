"""The function by which programs report an index out of range, for this process.

In: nothing. Out: `tvm_equi.index_error` in tvm_ffi's registry, unless somebody has registered it.
"""

from __future__ import annotations

import tvm_ffi

from tvm_equi.errors import IndexRangeError
from tvm_equi.relax.indices import INDEX_ERROR


def register_index_error() -> None:
    """Registers the function."""
    tvm_ffi.register_error(IndexRangeError.__name__, IndexRangeError)
    if tvm_ffi.get_global_func(INDEX_ERROR, allow_missing=True) is None:
        tvm_ffi.register_global_func(INDEX_ERROR, report)


def report(what: str, count: int, index: int) -> None:
    """Raises the error of an index.

    Args:
        what: name of the index.
        count: numbers from 0 to below this are good.
        index: the number that is not.

    Raises:
        IndexRangeError: always.
    """
    raise IndexRangeError(f"{what}: expected indices from 0 to {count - 1}, got {index}")
