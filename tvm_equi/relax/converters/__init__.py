"""Converters from torch's operators to steps in Relax, one module per kind of operator."""

from tvm_equi.relax.converters import (
    creation,
    division,
    elementwise,
    indices,
    kernels,
    layout,
    products,
    reductions,
)
from tvm_equi.relax.converters.table import CONVERTERS

__all__ = [
    "CONVERTERS",
    "creation",
    "division",
    "elementwise",
    "indices",
    "kernels",
    "layout",
    "products",
    "reductions",
]
