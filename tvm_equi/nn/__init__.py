"""e3nn's modules, with their arguments, state dicts and weight order, on compiled kernels."""

from tvm_equi.nn.convolution import TensorProductConv
from tvm_equi.nn.from_e3nn import from_e3nn
from tvm_equi.nn.linear import Linear
from tvm_equi.nn.products import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
)
from tvm_equi.nn.spherical_harmonics import SphericalHarmonics
from tvm_equi.nn.symmetric_contraction import SymmetricContraction
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.nn.tensor_square import TensorSquare

__all__ = [
    "ElementwiseTensorProduct",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "Linear",
    "SphericalHarmonics",
    "SymmetricContraction",
    "TensorProduct",
    "TensorProductConv",
    "TensorSquare",
    "from_e3nn",
]
