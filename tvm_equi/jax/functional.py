"""Single operations as functions, described as e3nn describes them.

In: irreps, instructions, normalisations. Out: functions of arrays whose last axis is that of the
irreps; leading axes are rows. Weights are arguments, flat, in e3nn's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, cast

import jax.numpy as jnp

from tvm_equi.algebra.contraction import Layout
from tvm_equi.errors import ArgumentError
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.instructions import RawInstruction
from tvm_equi.graph.operations import SphericalHarmonics, TensorProduct
from tvm_equi.graph.operations.products import Normalization
from tvm_equi.jax.library import JAX
from tvm_equi.runtime.rules.call import Call, Rule
from tvm_equi.runtime.rules.operations import operation_rule


@dataclass(frozen=True, eq=False)  # without slots: JAX refers to functions weakly
class Operation:
    """A function of arrays: `operation(x, ...)`.

    Args:
        name: in errors.
        rule: that computes it on rows.
        columns: of each argument that has rows.
        weight_numel: the number of weights of a set.
        weights: "row", "shared" or "none".
    """

    name: str
    rule: Rule
    columns: tuple[int, ...]
    weight_numel: int = 0
    weights: Literal["row", "shared", "none"] = "none"

    def __call__(self, *arrays: Any) -> Any:
        """The result.

        Args:
            *arrays: [..., columns] with the same leading axes, float32 or float64; then weights, if
                there are some: [weight_numel], or [..., weight_numel] where each row has its own.

        Raises:
            ArgumentError: a wrong number of arrays, or a wrong shape.
        """
        expected = [*self.columns, *([self.weight_numel] if self.weights != "none" else [])]
        if len(arrays) != len(expected):
            raise ArgumentError(f"{self.name}: expected {len(expected)} arrays, got {len(arrays)}")
        given = [jnp.asarray(array) for array in arrays]
        batch = given[0].shape[:-1]
        rows = []
        for number, (array, columns) in enumerate(zip(given, expected, strict=True)):
            is_shared = number == len(self.columns) and self.weights == "shared"
            wanted = (columns,) if is_shared else (*batch, columns)
            if array.shape != wanted:
                raise ArgumentError(
                    f"{self.name}: arrays[{number}]: expected shape {list(wanted)}, "
                    f"got {list(array.shape)}"
                )
            rows.append(array if is_shared else array.reshape(prod(batch), columns))
        out = self.rule(Call(rows, {}))
        return out.reshape(*batch, out.shape[-1])


def tensor_product(
    irreps_in1: object,
    irreps_in2: object,
    irreps_out: object,
    instructions: Iterable[RawInstruction],
    *,
    weights: Literal["row", "shared", "none"] = "shared",
    layout: Layout = "mul_ir",
    irrep_normalization: str = "component",
    path_normalization: str = "element",
) -> Operation:
    """The function (x, y, weights) of e3nn.o3.TensorProduct.

    Args:
        irreps_in1: of x.
        irreps_in2: of y.
        irreps_out: of the result.
        instructions: (i_in1, i_in2, i_out, mode, has_weight, path_weight).
        weights: one set for all rows ("shared"), one for each ("row"), or "none".
        layout: "mul_ir" (e3nn's) or "ir_mul", of x, y and the result.
        irrep_normalization: "component", "norm" or "none".
        path_normalization: "element", "path" or "none".

    Raises:
        GraphError: something does not fit; names it.

    Example:
        >>> product = tensor_product(
        ...     "4x0e+4x1o", "1x1o", "4x1o", [(0, 0, 0, "uvu", True, 1.0)], weights="row"
        ... )
        >>> product.weight_numel
        4
    """
    build = GraphBuilder(layout=layout)
    x = build.input("x", irreps_in1, rows="node")
    y = build.input("y", irreps_in2, rows="node")
    raw = tuple(instructions)
    shared = build.tensor_product(
        "tensor_product",
        x,
        y,
        irreps_out,
        raw,
        irrep_normalization=irrep_normalization,
        path_normalization=path_normalization,
    )
    operation = cast(TensorProduct, build.graph(shared).node(shared).operation)
    numel = sum(operation.weight_sizes())
    if numel:
        operation = replace(operation, weights=weights)
        operation.check()
    rule = operation_rule(operation, [], JAX)
    dims = (build.value(x).dim, build.value(y).dim)
    return Operation("tensor_product", rule, dims, numel, weights if numel else "none")


def linear(
    irreps_in: object,
    irreps_out: object,
    *,
    layout: Layout = "mul_ir",
    path_normalization: str = "element",
) -> Operation:
    """The function (x, weights) of e3nn.o3.Linear without biases, weights shared by all rows.

    Args:
        irreps_in: of x.
        irreps_out: of the result.
        layout: "mul_ir" (e3nn's) or "ir_mul".
        path_normalization: "element" or "path".

    Raises:
        GraphError: something does not fit; names it.
    """
    build = GraphBuilder(layout=layout)
    x = build.input("x", irreps_in, rows="node")
    name = build.linear("linear", x, irreps_out, path_normalization=path_normalization)
    graph = build.graph(name)
    numel = graph.types["linear.weight"]
    rule = operation_rule(graph.node(name).operation, [], JAX)
    return Operation("linear", rule, (build.value(x).dim,), getattr(numel, "dim", 0), "shared")


def spherical_harmonics(
    degrees: Iterable[int],
    *,
    normalize: bool = True,
    normalization: Normalization = "component",
) -> Callable[[Any], Any]:
    """The function of vectors [..., 3] of e3nn.o3.SphericalHarmonics.

    Args:
        degrees: l of each irrep of the result.
        normalize: whether vectors are made unit vectors first; a zero vector stays zero.
        normalization: "component", "norm" or "integral".

    Raises:
        GraphError: a negative degree, or an unknown normalization.
    """
    operation = SphericalHarmonics(tuple(degrees), normalize, normalization)
    return Operation("spherical_harmonics", operation_rule(operation, [], JAX), (3,))
