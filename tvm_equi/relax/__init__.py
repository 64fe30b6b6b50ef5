"""TVM's Relax: graphs and torch models as Relax modules, a lowering of this package's operators, and
whole models compiled for runtimes without torch.

Importing this package registers with TVM the operators `relax.tvm_equi.run`, `convolve` and
`sort_edges`, the pipeline "tvm_equi", and the function that reports an index out of range.
"""

from tvm_equi.relax.converters.kernels import CONVERT_MAP
from tvm_equi.relax.graph import to_relax
from tvm_equi.relax.index_error import register_index_error
from tvm_equi.relax.kernels import library_name
from tvm_equi.relax.lower import LowerTensorProducts
from tvm_equi.relax.pipeline import build, pipeline
from tvm_equi.relax.program import Program, build_program
from tvm_equi.relax.run import register_kernels

__all__ = [
    "CONVERT_MAP",
    "LowerTensorProducts",
    "Program",
    "build",
    "build_program",
    "library_name",
    "pipeline",
    "register_kernels",
    "to_relax",
]

register_index_error()
