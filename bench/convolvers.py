"""Who takes part in the convolution, z[i] = sum over edges from j to i of product(x[j], y, w).

In: a workload, a graph, a dtype, and the form in which weights come. Out: a `Case` whose products
take x on nodes and y on edges. In the form "per edge" w has a row per edge, unless the workload's
weights are shared. In the form "radial" w = h @ last is the last linear layer of a radial MLP:

- e3nn: x[senders], h @ last where there is one, e3nn's product, `index_add`; torch.compile gets the
  whole of it.
- cuEquivariance: its fused convolution needs CUDA. On a CPU its channelwise product takes the
  indices itself, and its method "naive" gathers and scatters; its fully connected product takes
  none, so that both are done outside, as for e3nn.
- ours: `TensorProductConv` with a `Topology` that was built beforehand.
- stored, in the form "radial" alone: ours, with w = h @ last computed by torch and kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from e3nn import o3
from torch import Tensor

from bench import machine
from bench.contestants import CUE, E3NN, OURS, Case, CompileBudget, Unavailable, cue_module
from bench.counts import Rows
from bench.graphs import Graph
from bench.passes import Product, random_tensors
from bench.workloads import Workload

PER_EDGE, RADIAL = "per edge", "radial"
FORMS = (PER_EDGE, RADIAL)

STORED = "stored"

HIDDEN = 64
"""Entries of h, as in MACE's radial MLP."""

SHARE_OF_MEMORY = 0.85
"""Of what is free: more than this is not tried."""


class Unfused(torch.nn.Module):
    """The convolution around a product that knows no graph.

    Args:
        product: of rows with rows.
        graph: senders and receivers.
    """

    def __init__(self, product: Product, graph: Graph) -> None:
        super().__init__()
        self.product = product
        self.senders, self.receivers = graph.edge_index
        self.num_nodes = graph.num_nodes

    def forward(self, x: Tensor, y: Tensor, w: Tensor, last: Tensor | None = None) -> Tensor:
        """The sum over edges; weights are w, or w @ last."""
        if last is not None:
            w = w @ last
        z = self.product(x[self.senders], y, w)
        return z.new_zeros(self.num_nodes, z.shape[1]).index_add(0, self.receivers, z)


def rows_of(graph: Graph) -> Rows:
    """The rows of the operands over a graph."""
    return Rows(graph.num_edges, graph.num_nodes, graph.num_nodes)


def convolution_case(
    workload: Workload,
    graph: Graph,
    dtype: torch.dtype,
    budget: CompileBudget,
    form: str = PER_EDGE,
) -> Case:
    """The case of a workload over a graph.

    Args:
        workload: what is computed for an edge.
        graph: the edges.
        dtype: of all tensors.
        budget: of torch.compile.
        form: one of `FORMS`; "radial" needs a workload with weights per edge.

    Raises:
        ValueError: another form, or "radial" with shared weights.
    """
    if form not in FORMS or (form == RADIAL and workload.shared_weights):
        allowed = FORMS[:1] if workload.shared_weights else FORMS
        raise ValueError(f"{workload.name}: form: expected one of {allowed}, got {form!r}")
    module = workload.build(dtype)
    hidden = HIDDEN if form == RADIAL else None
    builders: dict[str, Callable[[], Product]] = {
        E3NN: partial(Unfused, module, graph),
        CUE: partial(_cue, workload, module, graph, dtype),
        OURS: partial(_ours, module, graph, form),
        STORED: partial(_stored, module, graph),
    }
    tensors = random_tensors(module, rows_of(graph), dtype, hidden)
    check = partial(_check_memory, module, graph.num_edges, dtype.itemsize)
    return Case(workload, dtype, module, tensors, builders, budget, check)


def _ours(module: o3.TensorProduct, graph: Graph, form: str) -> Product:
    """This package's convolution, made from e3nn's product."""
    conv, topology = _fused(module, graph)
    if form == RADIAL:
        return lambda x, y, h, last: conv(x, y, edge_index=topology, radial=h, last=last)
    return lambda x, y, w: conv(x, y, w, topology)


def _stored(module: o3.TensorProduct, graph: Graph) -> Product:
    """This package's convolution of weights that torch computes."""
    conv, topology = _fused(module, graph)
    return lambda x, y, h, last: conv(x, y, h @ last, topology)


def _fused(module: o3.TensorProduct, graph: Graph) -> tuple[Product, object]:
    """This package's module and its topology."""
    import tvm_equi

    conv: Product = tvm_equi.TensorProductConv.from_e3nn(module)
    return conv, tvm_equi.Topology(graph.edge_index, graph.num_nodes)


def _cue(workload: Workload, module: o3.TensorProduct, graph: Graph, dtype: torch.dtype) -> Product:
    """CuEquivariance's product over a graph; on a CPU nothing of it is fused."""
    product = cue_module(workload, module, dtype)
    if workload.kind == "channelwise":
        senders, receivers = graph.edge_index
        return lambda x, y, w: product(
            x,
            y,
            w[None] if workload.shared_weights else w,
            indices_1=senders,
            indices_out=receivers,
            size_out=graph.num_nodes,
        )
    if workload.shared_weights:
        return Unfused(lambda x, y, w: product(x, y, w[None]), graph)
    return Unfused(product, graph)


UNFUSED_ROWS = {"forward": 2.5, "forward+backward": 5.0, "training step": 10.0}
"""What e3nn's convolution holds at most, in rows of x, y, w and z per edge, rather too high. On
carbon in float32 `bench.memory` found 0.1 to 2.1, 2.0 to 4.2 and 4.3 to 7.6, over five workloads,
and for tetris-poly-1, whose rows are short, 15.8."""


def unfused_bytes(module: o3.TensorProduct, num_edges: int, itemsize: int, pass_name: str) -> int:
    """An estimate of the most memory that e3nn's convolution holds in a pass.

    Args:
        module: e3nn's.
        num_edges: of the graph.
        itemsize: bytes per element.
        pass_name: one of `bench.passes.PASSES`.
    """
    weights = 0 if module.shared_weights else module.weight_numel
    irreps = (module.irreps_in1, module.irreps_in2, module.irreps_out)
    row = weights + sum(each.dim for each in irreps)
    return int(UNFUSED_ROWS[pass_name] * row * num_edges * itemsize)


def _check_memory(
    module: o3.TensorProduct, num_edges: int, itemsize: int, contestant: str, pass_name: str
) -> None:
    """Refuses a contestant that keeps values per edge and would need more memory than is free.

    Raises:
        Unavailable: so it is.
    """
    if contestant in (OURS, STORED):
        return
    need = unfused_bytes(module, num_edges, itemsize, pass_name)
    free = machine.free_memory()
    if free is not None and need > SHARE_OF_MEMORY * free:
        raise Unavailable(
            f"not tried: it would hold about {need / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free"
        )
