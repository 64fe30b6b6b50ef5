"""Run a kernel in numpy, slowly: the oracle of every lowering and schedule.

In: a kernel and one array per input. Out: one float64 array per output. Nothing is tiled,
reordered or skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_equi.algebra.contraction import PAIRS, Contraction, Operand, Path, Segment
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import ArgumentError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes that edges point at.

    Args:
        index: int64 [edges], the node of each edge.
        count: of all nodes.
    """

    index: NDArray[np.int64]
    count: int


def evaluate(
    kernel: Kernel, arrays: Sequence[Array], nodes: Mapping[str, Nodes] | None = None
) -> list[Array]:
    """The kernel's outputs for the given inputs.

    Args:
        kernel: the program.
        arrays: one array per input: [rows, dim], or [dim] where the operand is shared, or
            [nodes, dim] where it is on senders or receivers.
        nodes: the "sender" and "receiver" nodes, for a kernel that has operands on them.

    Returns:
        float64 arrays of the same form, one per output; shared outputs are summed over rows.

    Raises:
        ArgumentError: the number of arrays or a shape does not fit.
    """
    nodes = nodes or {}
    if len(arrays) != len(kernel.inputs):
        raise ArgumentError(
            f"evaluate: arrays: expected {len(kernel.inputs)} arrays, got {len(arrays)}"
        )
    values: dict[str, Array] = {}
    num_rows = next((len(kind.index) for kind in nodes.values()), 0)
    for name, array in zip(kernel.inputs, arrays, strict=True):
        operand = kernel.operand(name)
        values[name] = np.asarray(array, dtype=np.float64)
        if operand.rows == "row":
            num_rows = values[name].shape[0]
        if values[name].shape[-1] != operand.dim:
            raise ArgumentError(
                f"evaluate: {name}: expected {operand.dim} columns, got shape {array.shape}"
            )
    for name in (*kernel.temporaries, *kernel.outputs):
        operand = kernel.operand(name)
        counts = {"row": num_rows} | {rows: kind.count for rows, kind in nodes.items()}
        shape = (operand.dim,) if operand.rows == "shared" else (counts[operand.rows], operand.dim)
        values[name] = np.zeros(shape)
    for step in kernel.steps:
        form = kernel.contractions[step.contraction]
        kinds = [nodes.get(operand.rows) for operand in form.operands]
        of_edges = [
            values[name] if kind is None else values[name][kind.index]
            for name, kind in zip(step.operands, kinds, strict=True)
        ]
        target, kind = of_edges[step.output], kinds[step.output]
        if kind is not None:
            target[:] = 0
        _add_step(form, of_edges, step.output)
        if kind is not None:
            np.add.at(values[step.target], kind.index, target)
    return [values[name] for name in kernel.outputs]


def _add_step(form: Contraction, values: list[Array], output: int) -> None:
    """Adds one step to values[output], path by path."""
    axes = dict(zip(form.coupled, "ijkl", strict=False))
    for path in form.paths:
        if any(extent == 0 for _, extent in path.extents):
            continue
        subscripts, factors = [], []
        for slot, (operand, index) in enumerate(zip(form.operands, path.segments, strict=True)):
            rows = "" if operand.rows == "shared" else "n"
            channels = path.channels[slot].replace("<", "")
            subscripts.append(rows + channels + axes.get(slot, ""))
            if slot != output:
                block = _segment_view(values[slot], operand, index)
                factors.append(_unpack(block, path, slot, axes))
        coupling = "".join(axes[slot] for slot in form.coupled)
        target = subscripts.pop(output)
        for letter, extent in path.extents:  # a letter of the target alone: equal values along it
            if letter in target and not any(letter in source for source in subscripts):
                subscripts.append(letter)
                factors.append(np.ones(extent))
        result = np.einsum(
            f"{','.join([*subscripts, coupling])}->{target}", *factors, form.coupling(path)
        )
        block = _segment_view(values[output], form.operands[output], path.segments[output])
        block += _pack(result, path, output, axes, form.operands[output])


def _segment_view(value: Array, operand: Operand, index: int) -> Array:
    """A writable view [..., mul, dim] of one segment."""
    segment: Segment = operand.segments[index]
    offset = operand.offsets[index]
    block = value[..., offset : offset + segment.size]
    if operand.layout == "mul_ir":
        return block.reshape(*block.shape[:-1], segment.mul, segment.dim)
    return block.reshape(*block.shape[:-1], segment.dim, segment.mul).swapaxes(-1, -2)


def _unpack(block: Array, path: Path, slot: int, axes: dict[int, str]) -> Array:
    """[..., mul, dim] with an axis per channel letter, and a component axis where there is one."""
    lead, dim = block.shape[:-2], block.shape[-1]
    channels = path.channels[slot]
    if channels == PAIRS:
        n = path.extent("u")
        full = np.zeros((*lead, n, n, dim))
        rows, columns = np.triu_indices(n, 1)
        full[..., rows, columns, :] = block
    else:
        full = block.reshape(*lead, *(path.extent(letter) for letter in channels), dim)
    return full if slot in axes else full[..., 0]


def _pack(result: Array, path: Path, slot: int, axes: dict[int, str], operand: Operand) -> Array:
    """The inverse of `_unpack`: [..., mul, dim]."""
    if slot not in axes:
        result = result[..., None]
    lead = result.shape[: 0 if operand.rows == "shared" else 1]
    if path.channels[slot] == PAIRS:
        rows, columns = np.triu_indices(path.extent("u"), 1)
        return result[..., rows, columns, :]
    return result.reshape(*lead, -1, result.shape[-1])
