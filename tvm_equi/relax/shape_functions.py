"""Functions of sizes, in one order.

In: a module after `VMShapeLower`, which writes the computed sizes in the order of a hash table of
addresses, so another in each process. Out: the same with these stores sorted by place. Compiled
twice, a program then has the same bytes.

    H[19] = H[0] * 64                H[13] = H[0] + 1
    H[13] = H[0] + 1                 H[19] = H[0] * 64
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx

NAME = "shape_func"
"""Start of the names of these functions."""


@tvm.transform.module_pass(opt_level=0, name="SortShapeFunctions")
class SortShapeFunctions:
    """Sorts the stores of functions of sizes."""

    def transform_module(self, module: Any, _context: Any) -> Any:
        """The module with sorted functions."""
        result = tvm.IRModule(dict(module.functions_items()), attrs=module.attrs)
        for variable, function in module.functions_items():
            if isinstance(function, tirx.PrimFunc) and variable.name_hint.startswith(NAME):
                result.update_func(variable, function.with_body(_sorted(function.body)))
        return result


def _sorted(body: Any) -> Any:
    """Stores by place; any other body as it is."""
    stores = list(body.seq) if isinstance(body, tirx.SeqStmt) else []
    if not all(isinstance(store, tirx.BufferStore) for store in stores) or not stores:
        return body
    return tirx.SeqStmt(sorted(stores, key=lambda store: int(store.indices[0].value)))
