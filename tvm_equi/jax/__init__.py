"""Kernels in JAX: jit, grad to any order in both modes, vmap; on CPUs.

In: plans, graphs or artifacts. Out: pure functions of JAX arrays. Needs the packages of the extra
`jax`, and neither torch nor e3nn. Each name is imported on its first use, when packages that are
missing are named. Refused: GPUs, for which kernels take other arguments.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tvm_equi.jax.packages import check_packages

if TYPE_CHECKING:
    from tvm_equi.jax.artifact import load
    from tvm_equi.jax.functional import linear, spherical_harmonics, tensor_product
    from tvm_equi.jax.graph_function import GraphFunction, from_graph
    from tvm_equi.jax.operator import convolve, run
    from tvm_equi.jax.threads import set_num_threads
    from tvm_equi.jax.topology import Topology

__all__ = [
    "GraphFunction",
    "Topology",
    "convolve",
    "from_graph",
    "linear",
    "load",
    "run",
    "set_num_threads",
    "spherical_harmonics",
    "tensor_product",
]

_MODULES = {
    "GraphFunction": "tvm_equi.jax.graph_function",
    "Topology": "tvm_equi.jax.topology",
    "convolve": "tvm_equi.jax.operator",
    "from_graph": "tvm_equi.jax.graph_function",
    "linear": "tvm_equi.jax.functional",
    "load": "tvm_equi.jax.artifact",
    "run": "tvm_equi.jax.operator",
    "set_num_threads": "tvm_equi.jax.threads",
    "spherical_harmonics": "tvm_equi.jax.functional",
    "tensor_product": "tvm_equi.jax.functional",
}
"""Where each public name is defined."""


def __getattr__(name: str) -> object:
    """Imports a public name on its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_packages()
    value: object = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
