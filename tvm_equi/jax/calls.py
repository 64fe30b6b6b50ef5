"""A kernel's call in XLA: custom calls, and what they need around them.

In: the arrays of a call, which JAX traces. Out: its outputs. Arguments are those that
`runtime.torch_op` and `runtime.convolution` pass: room for copies and for sums that tasks share are
further results, which are dropped; shared outputs come in parts, which are added in a fixed order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from tvm_equi.algebra.contraction import Rows
from tvm_equi.algebra.convolution import NODE_ROWS, pass_order, passes
from tvm_equi.jax.covers import cover
from tvm_equi.jax.kernels import call_key, common_target, kernel_name
from tvm_equi.jax.signature import count_rows, shape, signature
from tvm_equi.lower.arguments import copied_inputs, summed_outputs
from tvm_equi.runtime.plans import resolve

ORDER_FIELDS = 5
"""Arrays of the edges in one order: edges, nodes, others, pointers, tasks."""

SERIAL_ELEMENTS = 1 << 17
"""Calls that touch fewer elements run on XLA's thread: handing one over costs some 20 us."""

ROWS_PER_CHUNK = 128
MAX_CHUNKS = 64
"""As for torch (`runtime.torch_op`): sums over rows do not depend on the number of threads."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """One run over the edges.

    Args:
        name: of the kernel.
        order: the number of the order of the edges.
        outputs: numbers of those that it computes.
        copied: numbers of the inputs that it needs room for a copy of.
        summed: columns of each sum over nodes that tasks share.
    """

    name: str
    order: int
    outputs: tuple[int, ...]
    copied: tuple[int, ...]
    summed: tuple[int, ...]


@lru_cache(maxsize=4096)
def _passes(plan: str, dtype: str) -> tuple[_Pass, ...]:
    """The passes that a plan names, ready to be called."""
    return tuple(
        _Pass(
            kernel_name(part.kernel, dtype),
            NODE_ROWS.index(pass_order(part.kernel)),
            part.outputs,
            tuple(part.kernel.inputs.index(name) for name in copied_inputs(part.kernel)),
            tuple(part.kernel.operand(name).dim for name in summed_outputs(part.kernel)),
        )
        for part in passes(resolve(plan))
    )


def call_kernel(plan: str, inputs: Sequence[Any], topology: Sequence[Any]) -> list[Any]:
    """The outputs of a kernel.

    Args:
        plan: that names it.
        inputs: its arrays, which fit.
        topology: `Topology.arrays()` of a convolution; else nothing.
    """
    facts = signature(plan)
    counts = row_counts(plan, inputs, topology)
    dtype = inputs[0].dtype
    covering = cover(plan, str(dtype))
    if covering is not None:
        given = [
            inputs[number] if number >= 0 else jnp.zeros(shape(value, counts), dtype)
            for number, value in zip(covering.inputs, signature(covering.plan).inputs, strict=True)
        ]
        found = call_kernel(covering.plan, given, topology)
        return [found[number] for number in covering.outputs]
    if 0 in counts.values():
        return [jnp.zeros(shape(value, counts), dtype) for value in facts.outputs]
    if not topology:
        return _call_on_rows(plan, inputs, counts["row"])
    return _call_on_edges(plan, inputs, topology, counts)


def row_counts(plan: str, inputs: Sequence[Any], topology: Sequence[Any]) -> dict[Rows, int]:
    """The number of each kind of rows.

    Args:
        plan: of a kernel.
        inputs: its arrays.
        topology: `Topology.arrays()` of a convolution; else nothing.
    """
    if not topology:
        return count_rows(signature(plan).inputs, inputs)
    counts: dict[Rows, int] = {"row": topology[0].shape[0]}
    for number, rows in enumerate(NODE_ROWS):
        counts[rows] = topology[number * ORDER_FIELDS + 3].shape[0] - 1
    return counts


def num_chunks(rows: int) -> int:
    """Parts of a sum over rows: a power of two, so that they share out evenly over threads.

    Args:
        rows: their number.
    """
    return min(MAX_CHUNKS, 1 << max(0, (rows // ROWS_PER_CHUNK).bit_length() - 1))


def _call_on_rows(plan: str, inputs: Sequence[Any], rows: int) -> list[Any]:
    """The outputs, of at least one row."""
    facts, dtype = signature(plan), inputs[0].dtype
    chunks = num_chunks(rows)
    shapes = [(rows if kind == "row" else chunks, columns) for columns, kind in facts.outputs]
    found = _custom_call(kernel_name(resolve(plan), str(dtype)), inputs, shapes, dtype)
    return [
        out.sum(0) if kind == "shared" else out
        for out, (_, kind) in zip(found, facts.outputs, strict=True)
    ]


def _call_on_edges(
    plan: str, inputs: Sequence[Any], topology: Sequence[Any], counts: Mapping[Rows, int]
) -> list[Any]:
    """The outputs, over at least one edge."""
    facts, dtype = signature(plan), inputs[0].dtype
    is_edge = topology[2 * ORDER_FIELDS] if len(topology) > 2 * ORDER_FIELDS else None
    outputs: list[Any] = [None] * len(facts.outputs)
    for part in _passes(plan, str(dtype)):
        first = part.order * ORDER_FIELDS
        order = [_as_int64(array) for array in topology[first : first + ORDER_FIELDS]]
        num_tasks = order[4].shape[1] - 1
        shapes = [
            (num_tasks, columns) if kind == "shared" else shape((columns, kind), counts)
            for columns, kind in (facts.outputs[number] for number in part.outputs)
        ]
        shapes += [inputs[number].shape for number in part.copied]
        shapes += [(num_tasks, columns) for columns in part.summed]
        found = _custom_call(part.name, inputs, shapes, dtype, order)
        for number, result in zip(part.outputs, found, strict=False):
            outputs[number] = _finished(result, facts.outputs[number][1], is_edge)
    return outputs


def _finished(result: Any, rows: Rows, is_edge: Any) -> Any:
    """An output of a pass: parts added, and zeros where there is no edge and nothing was stored."""
    if rows == "shared":
        return result.sum(0)
    if rows == "row" and is_edge is not None:
        return jnp.where(is_edge[:, None], result, 0)
    return result


def _custom_call(
    name: str,
    inputs: Sequence[Any],
    shapes: Sequence[tuple[int, ...]],
    dtype: Any,
    order: Sequence[Any] = (),
) -> Sequence[Any]:
    """What a kernel stores."""
    results = [jax.ShapeDtypeStruct(tuple(size), dtype) for size in shapes]
    is_small = sum(prod(array.shape) for array in (*inputs, *results)) < SERIAL_ELEMENTS
    key = call_key(name, len(inputs), len(order), not is_small)
    return list(jax.ffi.ffi_call(common_target(), results)(*inputs, *order, key=key))


def _as_int64(array: Any) -> Any:
    """What kernels take, also where JAX has no such arrays of its own."""
    with jax.enable_x64(True):
        return jax.lax.convert_element_type(array, jnp.int64)
