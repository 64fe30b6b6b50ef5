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
from tvm_equi.runtime.topology import Topology

Array = NDArray[np.generic]

EDGES_PER_NODE = 40
REPRESENTATIVE_BYTES = 48 << 20
"""Of operands with rows: more than the second-level caches of most CPUs, as in training."""

NUM_CHUNKS = 8
"""Partial sums of a shared output, where rows are no edges."""


@dataclass(frozen=True, slots=True)
class Case:
    """The arguments of a kernel's function.

    Args:
        kernel: the program.
        inputs: in its order.
        outputs: full of NaN.
        rest: what a convolution takes beside them.
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


def representative_rows(kernel: Kernel, dtype: str) -> int:
    """Rows at which a kernel is timed by default.

    Args:
        kernel: the program.
        dtype: of its values.
    """
    dims = [
        kernel.operand(name).dim
        for name in (*kernel.inputs, *kernel.outputs)
        if kernel.operand(name).rows == "row"
    ]
    row_bytes = sum(dims) * (8 if dtype == "float64" else 4)
    return max(256, min(8192, REPRESENTATIVE_BYTES // max(1, row_bytes)))


def make_case(kernel: Kernel, dtype: str, rows: int, seed: int = 0) -> Case:
    """Random operands; a convolution's edges have random senders, and receivers in order.

    Args:
        kernel: the program.
        dtype: "float32" or "float64".
        rows: or edges.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    num_nodes = max(1, rows // EDGES_PER_NODE) if rows > EDGES_PER_NODE else 9
    counts = {"row": rows} | dict.fromkeys(NODE_ROWS, num_nodes)
    nodes: dict[str, Nodes] = {}
    order: tuple[Array, ...] = ()
    num_parts = NUM_CHUNKS
    if is_convolution(kernel):
        index = np.stack([rng.integers(0, num_nodes, rows), np.arange(rows) * num_nodes // rows])
        topology = Topology(torch.from_numpy(index), num_nodes)
        order = tuple(tensor.numpy() for tensor in topology.order(pass_order(kernel)))
        num_parts = order[-1].shape[1] - 1
        nodes = {name: Nodes(index[side], num_nodes) for side, name in enumerate(NODE_ROWS)}

    def shape(name: str, shared: tuple[int, ...] = ()) -> tuple[int, ...]:
        operand = kernel.operand(name)
        lead = (counts[operand.rows],) if operand.rows in counts else shared
        return (*lead, operand.dim)

    def room(of: tuple[int, ...]) -> Array:
        return np.full(of, np.nan, dtype=dtype)

    inputs = tuple(rng.standard_normal(shape(name)).astype(dtype) for name in kernel.inputs)
    outputs = tuple(room(shape(name, (num_parts,))) for name in kernel.outputs)
    rest: tuple[Array, ...] = ()
    if nodes:
        copies = [room(shape(name)) for name in copied_inputs(kernel)]
        sums = [room((num_parts, kernel.operand(name).dim)) for name in summed_outputs(kernel)]
        rest = (*copies, *sums, *order)
    return Case(kernel, inputs, outputs, rest, nodes)
