"""Run a graph in numpy, slowly: the oracle of passes and of compiled graphs.

In: a graph, its inputs and its parameters. Out: its outputs, float64. Nothing is planned, fused or skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.errors import GraphError
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Activation,
    Add,
    Concat,
    Gather,
    Input,
    Linear,
    Norm,
    Parameter,
    RadialBasis,
    ScalarFunction,
    ScalarMLP,
    ScatterSum,
    Slice,
    SphericalHarmonics,
    Sum,
    TensorProduct,
)
from tvm_equi.graph.regions import coupling_part, kernel_of
from tvm_equi.graph.types import IndexType, Type, ValueType, parse_irreps

Array = NDArray[np.float64]


def interpret(graph: TensorProductGraph, given: Mapping[str, Any]) -> dict[str, Array]:
    """The outputs of a graph.

    Args:
        graph: to run.
        given: an array for each input and parameter, by name; more are ignored.

    Returns:
        float64 arrays by the names of the outputs.

    Raises:
        GraphError: an input is missing or has a wrong shape.
    """
    types = graph.types
    values: dict[str, Any] = {}
    num_rows: dict[str, int] = {}
    for node in graph.nodes:
        if isinstance(node.operation, Input | Parameter):
            values[node.name] = _take(node, types[node.name], given, num_rows)
    for node in graph.nodes:
        if node.name not in values:
            arguments = [values[name] for name in node.inputs]
            kinds = [types[name] for name in node.inputs]
            values[node.name] = _run(node, arguments, kinds, num_rows)
    return {name: values[name] for name in graph.outputs}


def _take(node: Node, kind: Type, given: Mapping[str, Any], num_rows: dict[str, int]) -> Any:
    """One input, checked.

    Raises:
        GraphError: it is missing, or its shape does not fit.
    """
    if node.name not in given:
        raise GraphError(f"interpret: {node.name}: expected an array, got none")
    dtype = np.int64 if isinstance(kind, IndexType) else np.float64
    array = np.asarray(given[node.name], dtype=dtype)
    columns = () if isinstance(kind, IndexType) else (kind.dim,)
    rows = () if kind.rows == "shared" else (num_rows.setdefault(kind.rows, array.shape[0]),)
    if array.shape != rows + columns:
        raise GraphError(
            f"interpret: {node.name}: expected shape {list(rows + columns)}, got {list(array.shape)}"
        )
    return array


def _run(node: Node, given: list[Any], kinds: list[Type], num_rows: dict[str, int]) -> Array:
    """The value of one node."""
    match node.operation:
        case TensorProduct() as product:
            return _tensor_product(product, given)
        case Linear() as linear:
            return _linear(linear, given)
        case SphericalHarmonics() as harmonics:
            return _spherical_harmonics(harmonics, given[0])
        case Gather():
            gathered: Array = given[0][given[1]]
            return gathered
        case ScatterSum(factor=factor):
            index_type = kinds[1]
            into = index_type.into if isinstance(index_type, IndexType) else ""
            total = np.zeros((num_rows[into], given[0].shape[1]))
            np.add.at(total, given[1], given[0])
            return factor * total
        case Sum(factor=factor):
            return np.asarray(factor * given[0].sum(axis=0))
        case Add(factors=factors):
            return np.asarray(sum(f * v for f, v in zip(factors, given, strict=True)))
        case Slice(parts=parts):
            blocks = _split(given[0], kinds[0])
            return _join([blocks[s][..., a:b, :] for s, a, b in parts], kinds[0], given[0])
        case Concat():
            return np.concatenate(given, axis=-1)
        case Norm():
            blocks = [np.linalg.norm(b, axis=-1, keepdims=True) for b in _split(given[0], kinds[0])]
            return _join(blocks, kinds[0], given[0])
        case RadialBasis() as basis:
            return radial_basis(basis, given[0])
        case Activation(functions=functions, factors=factors):
            blocks = [
                factor * scalar_function(name, block)
                for name, factor, block in zip(
                    functions, factors, _split(given[0], kinds[0]), strict=True
                )
            ]
            return _join(blocks, kinds[0], given[0])
        case ScalarMLP() as mlp:
            return _mlp(mlp, given)
        case _:
            raise GraphError(f"interpret: node {node.name!r}: no rule for {node.kind}")


def _split(value: Array, kind: Type) -> list[Array]:
    """One block [..., mul, dim] per segment."""
    blocks, start = [], 0
    if isinstance(kind, ValueType):
        for irrep in kind.segments:
            block = value[..., start : start + irrep.dim]
            start += irrep.dim
            shape = (irrep.mul, 2 * irrep.degree + 1)
            if kind.layout == "mul_ir":
                blocks.append(block.reshape(*value.shape[:-1], *shape))
            else:
                blocks.append(block.reshape(*value.shape[:-1], *shape[::-1]).swapaxes(-1, -2))
    return blocks


def _join(blocks: Sequence[Array], kind: Type, like: Array) -> Array:
    """The inverse of `_split`; no blocks give a value without columns."""
    is_mul_ir = not isinstance(kind, ValueType) or kind.layout == "mul_ir"
    lead = like.shape[:-1]
    flat = [
        (block if is_mul_ir else block.swapaxes(-1, -2)).reshape(
            *lead, block.shape[-1] * block.shape[-2]
        )
        for block in blocks
    ]
    return np.concatenate([np.zeros((*lead, 0)), *flat], axis=-1)


def _tensor_product(product: TensorProduct, given: list[Any]) -> Array:
    """A product, by the kernel oracle; paths without an invariant tensor give zero."""
    live, ranges = coupling_part(product)
    x, y = given[:2]
    if not live.instructions:
        return np.zeros((x.shape[0], sum(irrep.dim for irrep in parse_irreps(product.irreps_out))))
    arrays = [x, y]
    if live.weights != "none":
        arrays.append(np.concatenate([given[2][..., a:b] for a, b in ranges], axis=-1))
    return evaluate(kernel_of(live), arrays)[0]


def _linear(linear: Linear, given: list[Any]) -> Array:
    """A linear layer, by the kernel oracle, and its biases."""
    out = evaluate(kernel_of(linear), given[:2])[0]
    start = 0
    offsets = np.cumsum([0, *(irrep.dim for irrep in parse_irreps(linear.irreps_out))])
    for segment, size in zip(linear.biases, linear.bias_sizes(), strict=True):
        column = int(offsets[segment])
        out[:, column : column + size] += given[2][..., start : start + size]
        start += size
    return out


def _spherical_harmonics(harmonics: SphericalHarmonics, vectors: Array) -> Array:
    """Degree l from degree l - 1 and the vector, scaled to e3nn's value at the pole (the y axis)."""
    if harmonics.normalize:
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        vectors = vectors / np.maximum(lengths, 1e-12)
    raw = [np.ones((*vectors.shape[:-1], 1))]
    for degree in range(1, max(harmonics.degrees, default=0) + 1):
        product = np.einsum("...i,...j,ijk->...k", raw[-1], vectors, wigner_3j(degree - 1, 1, degree))
        raw.append(product / _pole_value(degree))
    scale = {
        "component": lambda l: np.sqrt(2 * l + 1),
        "norm": lambda l: 1.0,
        "integral": lambda l: np.sqrt((2 * l + 1) / (4 * np.pi)),
    }[harmonics.normalization]
    columns = [scale(degree) * raw[degree] for degree in harmonics.degrees]
    return np.concatenate([np.zeros((*vectors.shape[:-1], 0)), *columns], axis=-1)


@lru_cache(maxsize=64)
def _pole_value(degree: int) -> float:
    """The middle component of (harmonic of degree - 1) x (vector) at the pole, where both are 1."""
    return float(wigner_3j(degree - 1, 1, degree)[degree - 1, 1, degree])


def radial_basis(basis: RadialBasis, lengths: Array) -> Array:
    """Bessel functions times the cutoff.

    Args:
        basis: its numbers.
        lengths: [rows, 1].
    """
    numbers = np.arange(1, basis.num + 1)
    waves = np.sqrt(2 / basis.cutoff) * np.sin(numbers * np.pi * lengths / basis.cutoff) / lengths
    ratio = lengths / basis.cutoff
    cutoff = 1.0 + sum(c * ratio ** (basis.power + n) for n, c in enumerate(basis.polynomial))
    return np.asarray(waves * np.where(ratio < 1, cutoff, 0.0))


def scalar_function(name: ScalarFunction, x: Array) -> Array:
    """A scalar function by its name."""
    with np.errstate(over="ignore"):
        match name:
            case "silu":
                return np.asarray(x / (1 + np.exp(-x)))
            case "sigmoid":
                return np.asarray(1 / (1 + np.exp(-x)))
            case "tanh":
                return np.tanh(x)
            case "relu":
                return np.maximum(x, 0)
            case "abs":
                return np.abs(x)
            case "identity":
                return x


def _mlp(mlp: ScalarMLP, given: list[Any]) -> Array:
    """Layers of matrix products with the function between them."""
    x = given[0]
    for number, weights in enumerate(given[1:]):
        rows, columns = mlp.sizes[number], mlp.sizes[number + 1]
        matrix = weights.reshape(rows, columns) / np.sqrt(rows)
        is_last = number == len(mlp.sizes) - 2
        if is_last and mlp.columns:
            matrix = np.concatenate([matrix[:, a:b] for a, b in mlp.columns], axis=1)
        x = x @ matrix
        if not is_last:
            x = mlp.factor * scalar_function(mlp.function, x)
    return np.asarray(x)
