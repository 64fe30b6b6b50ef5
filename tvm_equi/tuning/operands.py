"""Operands to try a kernel on: random values, a random graph, and room for the outputs.

In: a kernel, a dtype and a number of rows. Out: every argument of its function as numpy arrays, and
the values that it should give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
Indices = NDArray[np.int64]
_Expected = tuple[Indices | None, dict[str, Indices], list[NDArray[np.float64]]]
"""(rows, nodes by kind, outputs of the oracle) that are compared."""

EDGES_PER_NODE, MIN_NODES = 40, 9
REPRESENTATIVE_BYTES = {"cpu": 48 << 20, "cuda": 384 << 20}
"""Of operands with rows, by device: more than its caches hold, as in training."""

MAX_ROWS = {"cpu": 8192, "cuda": 65536}

SAMPLED_ROWS, SAMPLED_NODES = 24, 3
"""That are compared with the oracle where there are too many for all."""

NUM_CHUNKS = 8
"""Partial sums of a shared output, where rows are no edges."""


@dataclass(frozen=True)
class Case:
    """The arguments of a kernel's function, and what it should give.

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

    def error(self, found: Sequence[Array], *, is_whole: bool) -> float:
        """The largest difference to the oracle, over the largest value of each output.

        Args:
            found: the outputs that a call has filled.
            is_whole: whether all is compared, or a sample: some rows, or all edges of some nodes.
                What is not compared must be finite.
        """
        rows, nodes, wanted = self._whole if is_whole else self._sample
        worst = 0.0
        for name, got, right in zip(self.kernel.outputs, found, wanted, strict=True):
            kind = self.kernel.operand(name).rows
            if not np.isfinite(got).all():
                return float("inf")
            if not is_whole and kind not in ("row", *nodes):
                continue
            values = np.asarray(got, np.float64)
            values = values.sum(0) if kind == "shared" else values
            picked = rows if kind == "row" else nodes.get(kind)
            if picked is not None:
                values = values[picked]
            right = right if kind in ("row", "shared") or picked is None else right[picked]
            scale = max(float(np.abs(right).max(initial=0.0)), 1e-30)
            worst = max(worst, float(np.abs(values - right).max(initial=0.0)) / scale)
        return worst

    @cached_property
    def _whole(self) -> _Expected:
        """Every output."""
        return None, {}, self._evaluate(None)

    @cached_property
    def _sample(self) -> _Expected:
        """Some rows, or the edges of some nodes of the kind that the kernel adds to."""
        if not self.nodes:
            values = zip((*self.kernel.inputs, *self.kernel.outputs), self.arguments, strict=False)
            num_rows = max(len(a) for name, a in values if self.kernel.operand(name).rows == "row")
            rows = np.unique(np.linspace(0, num_rows - 1, SAMPLED_ROWS).astype(np.int64))
            return rows, {}, self._evaluate(rows)
        kind = pass_order(self.kernel)
        index, count = self.nodes[kind].index, self.nodes[kind].count
        degrees = np.bincount(index, minlength=count)
        some = np.flatnonzero((degrees > 0) & (degrees <= np.median(degrees) + 1))
        picked = np.unique(some[np.linspace(0, len(some) - 1, SAMPLED_NODES).astype(np.int64)])
        rows = np.flatnonzero(np.isin(index, picked))
        return rows, {kind: picked}, self._evaluate(rows)

    def _evaluate(self, rows: Indices | None) -> list[NDArray[np.float64]]:
        """What the oracle gives for some rows or edges."""
        kinds = [self.kernel.operand(name).rows for name in self.kernel.inputs]
        inputs = [
            (array[rows] if kind == "row" and rows is not None else array).astype(np.float64)
            for kind, array in zip(kinds, self.inputs, strict=True)
        ]
        nodes = self.nodes
        if rows is not None:
            nodes = {name: Nodes(each.index[rows], each.count) for name, each in nodes.items()}
        return evaluate(self.kernel, inputs, nodes)


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
    """Random operands; a convolution's edges have receivers in order.

    Nodes have edges in all numbers: the last has none, and some of a small graph neither.

    Args:
        kernel: the program.
        dtype: "float32" or "float64".
        rows: or edges.
        seed: of the random numbers.
        device: whose function it is for, "cpu" or "cuda": what they take beside inputs and outputs
            differs (`lower/arguments.py`, `lower/gpu/arguments.py`).
    """
    rng = np.random.default_rng(seed)
    num_nodes = max(MIN_NODES, rows // EDGES_PER_NODE)
    counts = {"row": rows} | dict.fromkeys(NODE_ROWS, num_nodes)
    weights = rng.gamma(4.0, size=num_nodes)
    weights[[num_nodes // 3, -1]] = 0.0
    receivers = rng.choice(num_nodes, rows, p=weights / weights.sum())
    index = np.stack([rng.integers(0, num_nodes, rows), np.sort(receivers)])
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
