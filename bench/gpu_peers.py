"""The peers on a GPU: OpenEquivariance 0.7 and cuEquivariance 0.13, made from e3nn's modules.

In: a workload, a dtype, a device. Out: a `Contestant`. Errors are those of the peers;
`bench.gpu_contestants` turns them into reasons.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from e3nn import o3

from bench.contestants import FAILURES, Unavailable, reason
from bench.convolvers import Unfused
from bench.gpu_convention import (
    Contestant,
    Convention,
    components_first,
    given_graph,
    irreps_of,
)
from bench.graphs import Graph
from bench.passes import Product
from bench.workloads import Workload

CUE_METHODS = {"channelwise": ("uniform_1d", "fused_tp"), "fully_connected": ("fused_tp",)}
"""On a GPU, the first that can be built; on a CPU there is "naive"."""


def oeq(
    workload: Workload,
    dtype: torch.dtype,
    device: torch.device,
    over_graph: bool,
    *,
    deterministic: bool = False,
) -> Contestant:
    if deterministic and not over_graph:
        raise Unavailable("sums over graphs alone differ")
    import openequivariance  # type: ignore[import-untyped]

    module = workload.build(dtype)
    kind = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    problem = openequivariance.TPProblem(
        *(openequivariance.Irreps(str(irreps)) for irreps in irreps_of(module)),
        [(i.i_in1, i.i_in2, i.i_out, i.connection_mode, i.has_weight) for i in module.instructions],
        shared_weights=module.shared_weights,
        internal_weights=False,
        irrep_dtype=kind,
        weight_dtype=kind,
    )
    if not over_graph:
        product = openequivariance.TensorProduct(problem)
        return Contestant(lambda _: product, weight_order(product, module))
    conv = openequivariance.TensorProductConv(problem, deterministic=deterministic)

    def bind(graph: Graph | None) -> Product:
        graph = given_graph(graph)
        senders, receivers = graph.edge_index.contiguous()
        transposed = None
        if deterministic:
            transposed = torch.argsort(senders * graph.num_nodes + receivers, stable=True)
        return lambda x, y, w: conv(x, y, w, receivers, senders, transposed)

    how = "deterministic" if deterministic else "atomic"
    return Contestant(bind, weight_order(conv, module), how)


def weight_order(product: Product, module: o3.TensorProduct) -> Convention:
    """The order of weights in a product of OpenEquivariance, which differs for uvw.

    Args:
        product: its module.
        module: e3nn's.
    """
    numbers = torch.arange(module.weight_numel, dtype=torch.float64)
    if not module.shared_weights:
        numbers = numbers[None]
    order = product.reorder_weights_from_e3nn(numbers, not module.shared_weights)
    order = order.reshape(-1).round().long()
    if torch.equal(order, torch.arange(module.weight_numel)):
        return Convention()
    back = torch.argsort(order)
    return Convention(
        {"w": lambda w: w[..., order.to(w.device)]}, {"w": lambda w: w[..., back.to(w.device)]}
    )


def cue(
    workload: Workload,
    dtype: torch.dtype,
    device: torch.device,
    over_graph: bool,
    *,
    layout: str = "ir_mul",
) -> Contestant:
    module = workload.build(dtype)
    methods = CUE_METHODS[workload.kind] if device.type == "cuda" else ("naive",)
    if device.type == "cuda":
        import cuequivariance_ops_torch  # type: ignore[import-untyped]  # noqa: F401
    product, method = _cue_product(workload, module, dtype, layout, methods)
    product = product.to(device)
    shared = workload.shared_weights

    def bind(graph: Graph | None) -> Product:
        if graph is None or workload.kind != "channelwise":
            alone = (lambda x, y, w: product(x, y, w[None])) if shared else product
            return alone if graph is None else Unfused(alone, graph)
        senders, receivers = graph.edge_index.contiguous()
        return lambda x, y, w: product(
            x,
            y,
            w[None] if shared else w,
            indices_1=senders,
            indices_out=receivers,
            size_out=graph.num_nodes,
        )

    convention = components_first(module) if layout == "ir_mul" else Convention()
    return Contestant(bind, convention, method, is_fused=method == "uniform_1d")


def _cue_product(
    workload: Workload,
    module: o3.TensorProduct,
    dtype: torch.dtype,
    layout: str,
    methods: tuple[str, ...],
) -> tuple[torch.nn.Module, str]:
    """The module of cuEquivariance with the first method that can be built, and its name.

    Raises:
        ValueError: there is none, or another order of irreps.
    """
    import cuequivariance  # type: ignore[import-untyped]
    import cuequivariance_torch as cuet  # type: ignore[import-untyped]
    from cuequivariance.group_theory.experimental.e3nn import (  # type: ignore[import-untyped]
        O3_e3nn,
    )

    in1, in2, out = (cuequivariance.Irreps(O3_e3nn, str(irreps)) for irreps in irreps_of(module))
    build = partial(cuet.FullyConnectedTensorProduct, in1, in2, out)
    if workload.kind == "channelwise":
        kept = [O3_e3nn(l=ir.l, p=ir.p) for _, ir in o3.Irreps(workload.out)]
        build = partial(cuet.ChannelWiseTensorProduct, in1, in2, kept)
    refused = []
    for method in methods:
        try:
            product = build(
                layout=getattr(cuequivariance, layout),
                shared_weights=workload.shared_weights,
                internal_weights=False,
                dtype=dtype,
                math_dtype=dtype,  # method "fused_tp" would compute in float32
                method=method,
            ).to(dtype)
            if product.f.method != method:  # with no more than a warning
                raise ValueError(f"fell back to {product.f.method}")
        except FAILURES as error:
            refused.append(f"{method}: {reason(error)}")
            continue
        if product.irreps_out != out or product.weight_numel != module.weight_numel:
            raise ValueError(f"expected output irreps {out}, got {product.irreps_out}")
        return product, method
    raise ValueError("; ".join(refused))
