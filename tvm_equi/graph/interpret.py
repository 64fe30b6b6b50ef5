"""Run a graph in numpy, slowly: the oracle of passes and of compiled graphs.

In: a graph, its inputs and its parameters. Out: its outputs, float64. Nothing is planned, fused or
skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, singledispatch
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
    ComposedWeights,
    Concat,
    Convolution,
    Cutoff,
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
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.regions import coupling_part, kernel_of
from tvm_equi.graph.types import IndexType, Type, ValueType, irreps_dim, parse_irreps

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
            values[node.name] = _run(node.operation, _Call(arguments, kinds, num_rows))
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
            f"interpret: {node.name}: expected shape {list(rows + columns)}, "
            f"got {list(array.shape)}"
        )
    return array


@dataclass(frozen=True, slots=True)
class _Call:
    """What a rule sees: the node's inputs, their types, and the number of each kind of rows."""

    values: list[Any]
    types: list[Type]
    num_rows: Mapping[str, int]


@singledispatch
def _run(operation: Any, call: _Call) -> Array:
    """The value of one operation; one rule per class."""
    raise GraphError(f"interpret: {type(operation).__name__}: expected an operation with a rule")


@_run.register
def _(operation: TensorProduct, call: _Call) -> Array:
    live, ranges = coupling_part(operation)
    x, y = call.values[:2]
    if not live.instructions:
        return np.zeros((x.shape[0], irreps_dim(operation.irreps_out)))
    arrays = [x, y]
    if live.weights != "none":
        arrays.append(np.concatenate([call.values[2][..., a:b] for a, b in ranges], axis=-1))
    return evaluate(kernel_of(live), arrays)[0]


@_run.register
def _(operation: Convolution, call: _Call) -> Array:
    given, kinds = operation.by_name(call.values), operation.by_name(call.types)
    operands = [given["x"][given["senders"]]]
    if operation.harmonics is None:
        operands.append(given["y"])
    else:
        operands.append(spherical_harmonics(operation.harmonics, given["vectors"]))
    if operation.radial is not None:
        radial = operation.radial
        matrix = given["last"].reshape(radial.num_hidden, radial.num_weights)
        ranges = radial.columns or ((0, radial.num_weights),)
        columns = [matrix[:, start:end] for start, end in ranges]
        operands.append(given["h"] @ np.concatenate(columns, axis=1) / np.sqrt(radial.num_hidden))
    elif "w" in given:
        operands.append(given["w"])
    messages = _run(operation.product, _Call(operands, [], call.num_rows))
    both: list[Type] = [kinds["x"], kinds["receivers"]]
    return _run(
        ScatterSum(operation.factor), _Call([messages, given["receivers"]], both, call.num_rows)
    )


@_run.register
def _(operation: Linear, call: _Call) -> Array:
    out = evaluate(kernel_of(operation), call.values[:2])[0]
    start = 0
    offsets = np.cumsum([0, *(irrep.dim for irrep in parse_irreps(operation.irreps_out))])
    for segment, size in zip(operation.biases, operation.bias_sizes(), strict=True):
        column = int(offsets[segment])
        out[:, column : column + size] += call.values[2][..., start : start + size]
        start += size
    return out


@_run.register
def _(operation: SymmetricContraction, call: _Call) -> Array:
    x, w = call.values
    return evaluate(kernel_of(operation), [x, np.ones(1), w])[0]


@_run.register
def _(operation: SphericalHarmonics, call: _Call) -> Array:
    return spherical_harmonics(operation, call.values[0])


@_run.register
def _(operation: Gather, call: _Call) -> Array:
    x, index = call.values
    return np.asarray(x[index])


@_run.register
def _(operation: ScatterSum, call: _Call) -> Array:
    (x, index), index_type = call.values, call.types[1]
    into = index_type.into if isinstance(index_type, IndexType) else ""
    total = np.zeros((call.num_rows[into], x.shape[1]))
    np.add.at(total, index, x)
    return operation.factor * total


@_run.register
def _(operation: Sum, call: _Call) -> Array:
    return np.asarray(operation.factor * call.values[0].sum(axis=0))


@_run.register
def _(operation: Add, call: _Call) -> Array:
    terms = zip(operation.factors, call.values, strict=True)
    return np.asarray(sum(factor * value for factor, value in terms))


@_run.register
def _(operation: Slice, call: _Call) -> Array:
    blocks = _split(call.values[0], call.types[0])
    chosen = [blocks[segment][..., start:end, :] for segment, start, end in operation.parts]
    return _join(chosen, call.types[0], call.values[0])


@_run.register
def _(operation: Concat, call: _Call) -> Array:
    return np.concatenate(call.values, axis=-1)


@_run.register
def _(operation: Norm, call: _Call) -> Array:
    x, kind = call.values[0], call.types[0]
    lengths = [np.linalg.norm(block, axis=-1, keepdims=True) for block in _split(x, kind)]
    return _join(lengths, kind, x)


@_run.register
def _(operation: RadialBasis, call: _Call) -> Array:
    return radial_basis(operation, call.values[0])


@_run.register
def _(operation: Cutoff, call: _Call) -> Array:
    return envelope(operation, call.values[0])


@_run.register
def _(operation: Activation, call: _Call) -> Array:
    x, kind = call.values[0], call.types[0]
    applied = [
        factor * scalar_function(function, block)
        for function, factor, block in zip(
            operation.functions, operation.factors, _split(x, kind), strict=True
        )
    ]
    return _join(applied, kind, x)


@_run.register
def _(operation: ScalarMLP, call: _Call) -> Array:
    x = call.values[0]
    for number, weights in enumerate(call.values[1:]):
        rows, columns = operation.sizes[number], operation.sizes[number + 1]
        matrix = weights.reshape(rows, columns) / np.sqrt(rows)
        is_last = number == len(operation.sizes) - 2
        if is_last and operation.columns:
            matrix = np.concatenate([matrix[:, a:b] for a, b in operation.columns], axis=1)
        x = x @ matrix
        if not is_last:
            x = operation.factor * scalar_function(operation.function, x)
    return np.asarray(x)


@_run.register
def _(operation: ComposedWeights, call: _Call) -> Array:
    blocks = [np.zeros(0)]
    for terms in operation.blocks:
        total = 0.0
        for term in terms:
            parts = []
            for part in term.parts:
                rows = call.values[part.slot][part.start : part.end].reshape(-1, part.row_length)
                parts.append(rows[:, part.first : part.last].reshape(part.shape))
            total = total + term.factor * np.einsum(term.subscripts, *parts)
        blocks.append(np.ravel(total))
    return np.concatenate(blocks)


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


def spherical_harmonics(harmonics: SphericalHarmonics, vectors: Array) -> Array:
    """Degree l from degree l - 1 and the vector, scaled to 1 at the pole (e3nn's y axis).

    Args:
        harmonics: its degrees and normalization.
        vectors: [rows, 3].
    """
    if harmonics.normalize:
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        vectors = vectors / np.maximum(lengths, 1e-12)
    raw = [np.ones((*vectors.shape[:-1], 1))]
    for degree in range(1, max(harmonics.degrees, default=0) + 1):
        coupling = wigner_3j(degree - 1, 1, degree)
        product = np.einsum("...i,...j,ijk->...k", raw[-1], vectors, coupling)
        raw.append(product / _pole_value(degree))
    columns = [harmonics.pole_value(degree) * raw[degree] for degree in harmonics.degrees]
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
    return np.asarray(waves * envelope(Cutoff(basis.cutoff, basis.power), lengths))


def envelope(cutoff: Cutoff, lengths: Array) -> Array:
    """The cutoff polynomial.

    Args:
        cutoff: its numbers.
        lengths: [rows, 1].
    """
    ratio = lengths / cutoff.cutoff
    inside = 1.0 + sum(c * ratio ** (cutoff.power + n) for n, c in enumerate(cutoff.polynomial))
    return np.asarray(np.where(ratio < 1, inside, 0.0))


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
