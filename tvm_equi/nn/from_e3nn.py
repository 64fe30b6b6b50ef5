"""From an e3nn module to the one that does the same here.

In: an instance of a supported e3nn class. Out: ours of the same name, with copies of its weights.
Refused: other modules, and subclasses that compute something else.
"""

from __future__ import annotations

import torch
from e3nn import o3

from tvm_equi.errors import UnsupportedError
from tvm_equi.nn.linear import Linear
from tvm_equi.nn.products import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
)
from tvm_equi.nn.spherical_harmonics import SphericalHarmonics
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.nn.tensor_square import TensorSquare

CLASSES: dict[type[torch.nn.Module], type[TensorProduct | Linear | SphericalHarmonics]] = {
    o3.TensorProduct: TensorProduct,
    o3.FullyConnectedTensorProduct: FullyConnectedTensorProduct,
    o3.FullTensorProduct: FullTensorProduct,
    o3.ElementwiseTensorProduct: ElementwiseTensorProduct,
    o3.TensorSquare: TensorSquare,
    o3.Linear: Linear,
    o3.SphericalHarmonics: SphericalHarmonics,
}


def from_e3nn(
    module: torch.nn.Module, layout: str = "mul_ir"
) -> TensorProduct | Linear | SphericalHarmonics:
    """The module here that computes what an e3nn module does, with copies of its weights.

    Args:
        module: an instance of one of e3nn's `TensorProduct`, `FullyConnectedTensorProduct`,
            `FullTensorProduct`, `ElementwiseTensorProduct`, `TensorSquare`, `Linear` and
            `SphericalHarmonics`, or of a subclass that keeps its `forward`.
        layout: "mul_ir" (e3nn's) or "ir_mul", of the new module's operands.

    Raises:
        ArgumentError: an unknown layout.
        UnsupportedError: another module.

    Example:
        >>> from_e3nn(o3.Linear("4x0e + 2x1o", "3x0e"))
        Linear(4x0e+2x1o -> 3x0e | 12 weights)
    """
    for known in type(module).__mro__:
        if known in CLASSES:
            if type(module).forward is not known.forward:
                raise UnsupportedError(
                    f"from_e3nn: module: expected a {known.__name__} with e3nn's forward, got "
                    f"{type(module).__name__}, which defines its own"
                )
            return CLASSES[known].from_e3nn(module, layout)
    listed = ", ".join(sorted(known.__name__ for known in CLASSES))
    raise UnsupportedError(
        f"from_e3nn: module: expected one of e3nn's {listed}, got {type(module).__name__}"
    )
