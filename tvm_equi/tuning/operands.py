"""Operands to try a kernel on: random values, a random graph, and room for the outputs.

In: a kernel, a dtype and a number of rows. Out: every argument of its function as numpy arrays, and
the values that it should give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tvm_equi.algebra.convolution import NODE_ROWS, is_convolution, pass_order
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.arguments import copied_inputs, summed_outputs
from tvm_equi.runtime.device_order import device_order
from tvm_equi.runtime.gpu import num_chunks
from tvm_equi.runtime.topology import Topology

Array = NDArray[np.generic]

EDGES_PER_NODE = 40
REPRESENTATIVE_BYTES = {"cpu": 48 << 20, "cuda": 384 << 20}
"""Of operands with rows, by device: more than its caches hold, as in training."""

MAX_ROWS = {"cpu": 8192, "cuda": 65536}

NUM_CHUNKS = 8
"""Partial sums of a shared output, where rows are no edges."""


@dataclass(frozen=True, slots=True)
class Case:
    """The arguments of a kernel's function.

    Args:
        kernel: the program.
        inputs: in its order.
        outputs: full of NaN.
        rest: what the function takes beside them.
        nodes: that the edges point at.
    """

    kernel: Kernel
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    rest: tuple[Array, ...]
    nodes: dict[str, Nodes]

    @property
    def arguments(self) -> tuple[Array, ...]:
        """Of the function."""
        return (*self.inputs, *self.outputs, *self.rest)

    def error(self, found: list[Array], rows: NDArray[np.int64] | None = None) -> float:
        """The largest difference to the oracle, over the largest value of each output.

        Args:
            found: the outputs that a call has filled.
            rows: to look at in outputs with rows; by default all, and sums over rows too.
        """
        kernel, nodes = self.kernel, self.nodes
        inputs = [array.astype(np.float64) for array in self.inputs]
        if rows is not None:
            inputs = [
                array[rows] if kernel.operand(name).rows == "row" else array
                for name, array in zip(kernel.inputs, inputs, strict=True)
            ]
            nodes = {name: Nodes(kind.index[rows], kind.count) for name, kind in nodes.items()}
        wanted = evaluate(kernel, inputs, nodes)
        worst = 0.0
        for name, got, right in zip(kernel.outputs, found, wanted, strict=True):
            kind = kernel.operand(name).rows
            if rows is not None and kind != "row":
                continue
            values = got.astype(np.float64)
            if rows is not None:
                values = values[rows]
            if kind == "shared":
                values = values.sum(0)
            scale = max(float(np.abs(right).max(initial=0.0)), 1e-30)
            difference = float(np.abs(values - right).max(initial=0.0)) / scale
            worst = max(worst, difference) if difference == difference else float("inf")
        return worst


def representative_rows(kernel: Kernel, dtype: str, device: str = "cpu") -> int:
    """Rows at which a kernel is timed by default.

    Args:
        kernel: the program.
        dtype: of its values.
        device: "cpu" or "cuda".
    """
    dims = [
        kernel.operand(name).dim
        for name in (*kernel.inputs, *kernel.outputs)
        if kernel.operand(name).rows == "row"
    ]
    row_bytes = sum(dims) * (8 if dtype == "float64" else 4)
    return max(256, min(MAX_ROWS[device], REPRESENTATIVE_BYTES[device] // max(1, row_bytes)))


def make_case(kernel: Kernel, dtype: str, rows: int, seed: int = 0, device: str = "cpu") -> Case:
    """Random operands; a convolution's edges have random senders, and receivers in order.

    Args:
        kernel: the program.
        dtype: "float32" or "float64".
        rows: or edges.
        seed: of the random numbers.
        device: whose function it is for, "cpu" or "cuda": what they take beside inputs and outputs
            differs (`lower/arguments.py`, `lower/gpu/arguments.py`).
    """
    rng = np.random.default_rng(seed)
    num_nodes = max(1, rows // EDGES_PER_NODE) if rows > EDGES_PER_NODE else 9
    counts = {"row": rows} | dict.fromkeys(NODE_ROWS, num_nodes)
    index = np.stack([rng.integers(0, num_nodes, rows), np.arange(rows) * num_nodes // rows])
    over_edges = is_convolution(kernel)
    order = _order(kernel, index, num_nodes, device) if over_edges else _Order((), 0, NUM_CHUNKS)
    num_sums = order.num_sums
    if device == "cuda":
        shared = [name for name in kernel.outputs if kernel.operand(name).rows == "shared"]
        num_sums = num_chunks(rows, sum(kernel.operand(name).dim for name in shared))

    def room(name: str, shared: tuple[int, ...] = ()) -> Array:
        operand = kernel.operand(name)
        lead = (counts[operand.rows],) if operand.rows in counts else shared
        return np.full((*lead, operand.dim), np.nan, dtype=dtype)

    inputs = tuple(rng.standard_normal(room(name).shape).astype(dtype) for name in kernel.inputs)
    outputs = tuple(room(name, (num_sums,)) for name in kernel.outputs)
    rest = [room(name) for name in (kernel.temporaries if device == "cuda" else ())]
    if over_edges:
        rest += [room(name) for name in copied_inputs(kernel)]
        dims = [kernel.operand(name).dim for name in summed_outputs(kernel)]
        rest += [np.full((order.num_parts, dim), np.nan, dtype=dtype) for dim in dims]
    nodes: dict[str, Nodes] = {}
    if over_edges:
        nodes = {name: Nodes(index[side], num_nodes) for side, name in enumerate(NODE_ROWS)}
    return Case(kernel, inputs, outputs, (*rest, *order.arrays), nodes)


@dataclass(frozen=True, slots=True)
class _Order:
    """The order in which a kernel takes edges.

    Args:
        arrays: its last arguments.
        num_parts: of nodes whose sums have several.
        num_sums: partial sums of a shared output.
    """

    arrays: tuple[Array, ...]
    num_parts: int
    num_sums: int


def _order(kernel: Kernel, index: NDArray[np.int64], num_nodes: int, device: str) -> _Order:
    """The order of some edges."""
    edges, rows = torch.from_numpy(index), pass_order(kernel)
    if device == "cuda":
        on_device = device_order(edges, NODE_ROWS.index(rows), num_nodes, num_nodes)
        arrays = tuple(tensor.numpy() for tensor in on_device)
        return _Order(arrays, on_device.part_nodes.shape[0], 0)
    arrays = tuple(tensor.numpy() for tensor in Topology(edges, num_nodes).order(rows))
    num_tasks = arrays[-1].shape[1] - 1
    return _Order(arrays, num_tasks, num_tasks)
