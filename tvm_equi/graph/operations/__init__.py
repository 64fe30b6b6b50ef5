"""The operations of a graph: one frozen dataclass each, with its typing rule."""

from __future__ import annotations

from typing import TypeAlias

from tvm_equi.algebra.products import Instruction
from tvm_equi.graph.operations.convolution import Convolution, RadialLayer
from tvm_equi.graph.operations.products import (
    Linear,
    LinearPath,
    SphericalHarmonics,
    TensorProduct,
)
from tvm_equi.graph.operations.rows import Gather, ScatterSum, Sum
from tvm_equi.graph.operations.scalars import (
    SECOND_MOMENT_SCALES,
    Activation,
    Cutoff,
    Norm,
    RadialBasis,
    ScalarFunction,
    ScalarMLP,
)
from tvm_equi.graph.operations.symmetric import SymmetricContraction
from tvm_equi.graph.operations.values import Add, Concat, Input, Parameter, Slice
from tvm_equi.graph.operations.weights import ComposedWeights, WeightPart, WeightTerm

Operation: TypeAlias = (
    Input
    | Parameter
    | TensorProduct
    | Convolution
    | Linear
    | SphericalHarmonics
    | SymmetricContraction
    | Gather
    | ScatterSum
    | Sum
    | Norm
    | RadialBasis
    | Cutoff
    | Activation
    | ScalarMLP
    | Add
    | Slice
    | Concat
    | ComposedWeights
)

OPERATIONS: dict[str, type[Operation]] = {
    operation.__name__: operation
    for operation in (
        Input,
        Parameter,
        TensorProduct,
        Convolution,
        Linear,
        SphericalHarmonics,
        SymmetricContraction,
        Gather,
        ScatterSum,
        Sum,
        Norm,
        RadialBasis,
        Cutoff,
        Activation,
        ScalarMLP,
        Add,
        Slice,
        Concat,
        ComposedWeights,
    )
}
"""Every operation by its name."""

__all__ = [
    "OPERATIONS",
    "SECOND_MOMENT_SCALES",
    "Activation",
    "Add",
    "ComposedWeights",
    "Concat",
    "Convolution",
    "Cutoff",
    "Gather",
    "Input",
    "Instruction",
    "Linear",
    "LinearPath",
    "Norm",
    "Operation",
    "Parameter",
    "RadialBasis",
    "RadialLayer",
    "ScalarFunction",
    "ScalarMLP",
    "ScatterSum",
    "Slice",
    "SphericalHarmonics",
    "Sum",
    "SymmetricContraction",
    "TensorProduct",
    "WeightPart",
    "WeightTerm",
]
