"""Who takes part on a GPU: e3nn, OpenEquivariance, cuEquivariance, this package.

In: a workload, a dtype, a device. Out: a `Contestant`: its product over any graph or none, and how
its data differ from e3nn's, so that all compute the same from the same numbers; data are converted
before anything is timed. Or `Unavailable`, with the reason in words.

- e3nn: its product; over a graph x[senders], the product, `index_add`.
- oeq, oeq-det: OpenEquivariance, with atomic additions, and deterministic over sorted edges. Its
  weights are in an order of their own. Its rows are receivers, its columns senders.
- cue, cue-mul_ir: cuEquivariance, in its own layout of irreps (components before channels), and in
  e3nn's, where its transpositions count. Method "uniform_1d", which gathers and adds inside; where
  multiplicities differ "fused_tp", with torch's gather and sum.
- ours: with a `Topology` that was built beforehand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch

from bench import gpu_peers
from bench.contestants import E3NN, FAILURES, OURS, Unavailable, reason
from bench.convolvers import Unfused
from bench.gpu_convention import Contestant, given_graph
from bench.graphs import Graph
from bench.passes import Product
from bench.workloads import Workload, default_dtype

OEQ, OEQ_DET, CUE, CUE_MUL_IR = "oeq", "oeq-det", "cue", "cue-mul_ir"

DEFAULT = (E3NN, OEQ, OEQ_DET, CUE, OURS)


def make(
    name: str, workload: Workload, dtype: torch.dtype, device: torch.device, *, over_graph: bool
) -> Contestant:
    """A contestant.

    Args:
        name: one of `MAKERS`.
        workload: what it computes.
        dtype: of all data.
        device: where data are.
        over_graph: whether it is bound to graphs, or to none.

    Raises:
        Unavailable: it can not be built.
    """
    try:
        with warnings.catch_warnings(), default_dtype(dtype):
            warnings.simplefilter("ignore")
            return MAKERS[name](workload, dtype, device, over_graph)
    except (*FAILURES, OSError) as error:
        raise Unavailable(reason(error)) from error


def _e3nn(workload: Workload, dtype: torch.dtype, device: torch.device, _: bool) -> Contestant:
    module = workload.build(dtype).to(device)
    return Contestant(
        lambda graph: module if graph is None else Unfused(module, graph), is_fused=False
    )


def _ours(
    workload: Workload, dtype: torch.dtype, device: torch.device, over_graph: bool
) -> Contestant:
    import tvm_equi

    module = workload.build(dtype)
    if not over_graph:
        product = tvm_equi.TensorProduct.from_e3nn(module).to(device)
        return Contestant(lambda _: product)
    conv = tvm_equi.TensorProductConv.from_e3nn(module).to(device)

    def bind(graph: Graph | None) -> Product:
        graph = given_graph(graph)
        topology = tvm_equi.Topology(graph.edge_index, graph.num_nodes)
        return lambda x, y, w: conv(x, y, w, topology)

    return Contestant(bind)


MAKERS: dict[str, Callable[[Workload, torch.dtype, torch.device, bool], Contestant]] = {
    E3NN: _e3nn,
    OEQ: gpu_peers.oeq,
    OEQ_DET: partial(gpu_peers.oeq, deterministic=True),
    CUE: gpu_peers.cue,
    CUE_MUL_IR: partial(gpu_peers.cue, layout="mul_ir"),
    OURS: _ours,
}
