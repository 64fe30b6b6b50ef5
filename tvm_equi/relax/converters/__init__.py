"""Converters from torch's operators to steps in Relax, one module per kind of operator."""

from tvm_equi.relax.converters import (
    comparisons,
    creation,
    division,
    elementwise,
    indices,
    kernels,
    layout,
    powers,
    products,
    reductions,
)
from tvm_equi.relax.converters.table import CONVERTERS

__all__ = [
    "CONVERTERS",
    "comparisons",
    "creation",
    "division",
    "elementwise",
    "indices",
    "kernels",
    "layout",
    "powers",
    "products",
    "reductions",
]
