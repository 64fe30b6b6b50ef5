"""What is deployed: model files and what runs them; free of torch, e3nn and TVM's compiler.

`load` and `Model` are imported on their first use, with numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvm_equi.deploy.model import Model, load

__all__ = ["Model", "load"]


def __getattr__(name: str) -> object:
    """Imports a public name on its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module("tvm_equi.deploy.model"), name)
    globals()[name] = value
    return value
