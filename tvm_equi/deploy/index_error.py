"""What programs call when an index is out of range.

In: the index's name, how many rows it may name, and the number that is none of them. Out: an error.
The function is in tvm_ffi's table, once per process; whoever loads programs registers it before.
"""

from __future__ import annotations

from tvm_equi.deploy.runtime import function_table, load_runtime

INDEX_ERROR = "tvm_equi.index_error"
"""The function's name."""


def register_index_error() -> None:
    """Makes the function callable, unless it is already."""
    tvm_ffi = load_runtime()
    with function_table():
        if tvm_ffi.get_global_func(INDEX_ERROR, allow_missing=True) is None:
            tvm_ffi.register_global_func(INDEX_ERROR, _refuse)


def _refuse(what: str, count: int, index: int) -> None:
    """Refuses an index.

    Raises:
        IndexError: always.
    """
    raise IndexError(f"{what}: expected indices from 0 to {count - 1}, got {index}")
