"""TVM's Relax: modules from graphs and models, a lowering of our operators, and whole programs.

Importing this package registers with TVM the operators `relax.tvm_equi.run`, `convolve` and
`sort_edges`, the pipeline "tvm_equi", and the function that reports an index out of range.
"""

from tvm_equi.deploy.index_error import register_index_error
from tvm_equi.relax.converters.kernels import CONVERT_MAP
from tvm_equi.relax.graph import to_relax
from tvm_equi.relax.kernels import library_name
from tvm_equi.relax.lower import LowerTensorProducts
from tvm_equi.relax.pipeline import build, pass_context, pipeline
from tvm_equi.relax.program import Built, build_program
from tvm_equi.relax.run import register_kernels

__all__ = [
    "CONVERT_MAP",
    "Built",
    "LowerTensorProducts",
    "build",
    "build_program",
    "library_name",
    "pass_context",
    "pipeline",
    "register_kernels",
    "to_relax",
]

register_index_error()
