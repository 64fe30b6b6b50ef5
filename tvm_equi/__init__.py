"""A compiler for O(3)-equivariant tensor products.

In: e3nn's operations, as modules or as a graph. Out: kernels that PyTorch calls, with every
derivative. Each public name is imported on its first use: `import tvm_equi` loads neither torch nor
TVM.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvm_equi.compiler import compile, tune, verify
    from tvm_equi.graph import Graph, TensorProductGraph
    from tvm_equi.models.accelerate import accelerate
    from tvm_equi.nn import (
        ElementwiseTensorProduct,
        FullTensorProduct,
        FullyConnectedTensorProduct,
        Linear,
        SphericalHarmonics,
        SymmetricContraction,
        TensorProduct,
        TensorProductConv,
        TensorSquare,
        from_e3nn,
    )
    from tvm_equi.nn.artifact import Artifact, load
    from tvm_equi.pruning import prune
    from tvm_equi.runtime.topology import Topology

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "ElementwiseTensorProduct",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "Graph",
    "Linear",
    "SphericalHarmonics",
    "SymmetricContraction",
    "TensorProduct",
    "TensorProductConv",
    "TensorProductGraph",
    "TensorSquare",
    "Topology",
    "accelerate",
    "compile",
    "from_e3nn",
    "load",
    "prune",
    "tune",
    "verify",
]

_MODULES = {
    "Artifact": "tvm_equi.nn.artifact",
    "ElementwiseTensorProduct": "tvm_equi.nn",
    "FullTensorProduct": "tvm_equi.nn",
    "FullyConnectedTensorProduct": "tvm_equi.nn",
    "Graph": "tvm_equi.graph",
    "Linear": "tvm_equi.nn",
    "SphericalHarmonics": "tvm_equi.nn",
    "SymmetricContraction": "tvm_equi.nn",
    "TensorProduct": "tvm_equi.nn",
    "TensorProductConv": "tvm_equi.nn",
    "TensorProductGraph": "tvm_equi.graph",
    "TensorSquare": "tvm_equi.nn",
    "Topology": "tvm_equi.runtime.topology",
    "accelerate": "tvm_equi.models.accelerate",
    "compile": "tvm_equi.compiler",
    "from_e3nn": "tvm_equi.nn",
    "load": "tvm_equi.nn.artifact",
    "prune": "tvm_equi.pruning",
    "tune": "tvm_equi.compiler",
    "verify": "tvm_equi.compiler",
}
"""Where each public name is defined."""


def __getattr__(name: str) -> object:
    """Imports a public name, or the folder of what runs without torch, on its first use."""
    if name == "deploy":
        return importlib.import_module("tvm_equi.deploy")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value: object = getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            f"tvm_equi.{name}: expected torch, got none; pip install torch, or run a compiled "
            "model without it: tvm_equi.deploy.load"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
