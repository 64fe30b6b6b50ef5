"""What the GPU benchmark runs, how large it is, and how much memory it needs; no GPU is needed.

In: workloads, shapes, dtypes. Out: cases. A shape is a number of rows, for the tensor product
alone, or a graph, for the convolution. Edges are sorted by receiver, then by sender, for all
contestants: OpenEquivariance's deterministic kernel wants them so, and it harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from e3nn import o3
from rich.table import Table

from bench.convolvers import rows_of, unfused_bytes
from bench.counts import Rows, Work, kernel_work
from bench.graphs import Graph, carbon, skewed
from bench.options import DTYPES
from bench.passes import KERNELS_OF
from bench.workloads import Workload

ROWS = "rows"
"""The shape of a tensor product without a graph."""

REPEATS = {"carbon-10k": (2, 2, 2), "carbon-100k": (4, 4, 5), "carbon-1m": (9, 9, 10)}
"""Cubic cells of 8 atoms along each axis; an atom has about 160 neighbours."""

SKEWED = {"skewed-1k": 1_000, "skewed-100k": 100_000}
"""Random graphs whose in-degrees differ much, by number of edges."""

SHAPES = (ROWS, *REPEATS, *SKEWED)
DEFAULT_SHAPES = (ROWS, *REPEATS)
QUICK_SHAPES = (ROWS, "carbon-10k")

SHARE_OF_MEMORY = 0.9
"""Of what is free: more than this is not tried."""

ROLES = ("x", "y", "w", "z", "x", "y", "w")
"""Of the tensors that a pass reads: three inputs, the cotangent of z, three cotangents."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A number of rows, or a graph.

    Args:
        name: one of `SHAPES`.
        rows: of the operands.
        graph: the edges, on the CPU; None for a tensor product alone.
    """

    name: str
    rows: Rows
    graph: Graph | None = None

    @property
    def edges(self) -> int:
        """Rows of y and of the product."""
        return self.rows.edges


@lru_cache(maxsize=len(SHAPES))
def shape_of(name: str, rows: int) -> Shape:
    """The shape of a name.

    Args:
        name: one of `SHAPES`.
        rows: for `ROWS`.
    """
    if name == ROWS:
        return Shape(name, Rows.alike(rows))
    graph = carbon(REPEATS[name]) if name in REPEATS else skewed(SKEWED[name])  # type: ignore[arg-type]
    graph = receiver_sorted(name, graph)
    return Shape(name, rows_of(graph), graph)


def receiver_sorted(name: str, graph: Graph) -> Graph:
    """The graph with its edges sorted by receiver, then by sender, under another name."""
    senders, receivers = graph.edge_index
    order = torch.argsort(receivers * graph.num_nodes + senders, stable=True)
    return Graph(name, graph.edge_index[:, order], graph.num_nodes, graph.vectors[order])


@dataclass(frozen=True, slots=True)
class GpuCase:
    """One workload on one shape in one dtype.

    Args:
        workload: what is computed for a row or an edge.
        shape: how many of them.
        dtype: "float32" or "float64".
        module: e3nn's, on the CPU.
    """

    workload: Workload
    shape: Shape
    dtype: str
    module: o3.TensorProduct

    @property
    def label(self) -> str:
        """For a line of a report."""
        return f"{self.workload.name}, {self.shape.name}, {self.dtype}"

    def tensor_shape(self, role: str) -> tuple[int, ...]:
        """The shape of an operand: "x", "y", "w" or "z"."""
        rows, module = self.shape.rows, self.module
        if role == "w" and module.shared_weights:
            return (module.weight_numel,)
        return {
            "x": (rows.senders, module.irreps_in1.dim),
            "y": (rows.edges, module.irreps_in2.dim),
            "w": (rows.edges, module.weight_numel),
            "z": (rows.receivers, module.irreps_out.dim),
        }[role]

    def is_sliced(self, role: str) -> bool:
        """Whether a range of edges has its own rows of an operand."""
        if role == "w":
            return not self.module.shared_weights
        return role == "y" or self.shape.graph is None

    def work(self) -> dict[str, Work]:
        """The counted work of each kernel."""
        return kernel_work(self.module, self.shape.rows, DTYPES[self.dtype].itemsize)

    def bytes_of(self, roles: str) -> int:
        """Bytes of operands together, such as "xyw"."""
        elements = sum(torch.Size(self.tensor_shape(role)).numel() for role in roles)
        return elements * DTYPES[self.dtype].itemsize

    def input_bytes(self, pass_name: str) -> int:
        """Bytes that a pass reads."""
        return self.bytes_of(READS[pass_name])

    def output_bytes(self, pass_name: str) -> int:
        """Bytes that a pass returns."""
        return self.bytes_of(RETURNS[pass_name])

    def unfused_bytes(self, pass_name: str) -> int:
        """An estimate of what a contestant holds that stores z for every edge, beside its input."""
        itemsize = DTYPES[self.dtype].itemsize
        return unfused_bytes(self.module, self.shape.edges, itemsize, pass_name)


READS = {"forward": "xyw", "forward+backward": "xywz", "training step": "xywzxyw"}
RETURNS = {"forward": "z", "forward+backward": "zxyw", "training step": "zxywxywz"}
"""Roles of what each pass reads and returns, in order."""


def cases(
    workloads: tuple[Workload, ...], shapes: tuple[str, ...], dtypes: tuple[str, ...], rows: int
) -> Iterator[GpuCase]:
    """Every case; graphs are built when their turn comes, and kept."""
    for dtype in dtypes:
        for workload in workloads:
            module = workload.build(DTYPES[dtype])
            for name in shapes:
                yield GpuCase(workload, shape_of(name, rows), dtype, module)


def plan_table(found: list[GpuCase], passes: tuple[str, ...], memory: float) -> Table:
    """One line per case and pass: sizes, counted work, memory.

    Args:
        found: the cases.
        passes: of each.
        memory: bytes of the GPU.
    """
    table = Table(title=f"plan; a GPU of {memory / 1e9:.0f} GB")
    for name in ("workload", "shape", "dtype", "pass"):
        table.add_column(name, no_wrap=True)
    columns = ("nodes", "edges", "work GB", "work GFLOP", "data GB", "+ unfused GB", "does it fit?")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for case in found:
        table.add_section()
        for pass_name in passes:
            work = [case.work()[kernel] for kernel in KERNELS_OF[pass_name]]
            held = case.input_bytes(pass_name) + case.output_bytes(pass_name)
            unfused = case.unfused_bytes(pass_name)
            table.add_row(
                case.workload.name,
                case.shape.name,
                case.dtype,
                pass_name,
                str(case.shape.rows.receivers) if case.shape.graph else "-",
                str(case.shape.edges),
                f"{sum(each.num_bytes for each in work) / 1e9:.3g}",
                f"{sum(2 * each.macs for each in work) / 1e9:.3g}",
                f"{held / 1e9:.3g}",
                f"{unfused / 1e9:.3g}",
                _fits(held, unfused, SHARE_OF_MEMORY * memory),
            )
    return table


def _fits(held: int, unfused: int, memory: float) -> str:
    if held > memory:
        return "nobody"
    return "all" if held + unfused <= memory else "fused only"
