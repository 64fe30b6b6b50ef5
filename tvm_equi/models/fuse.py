"""Convolutions in the forwards of a model: found by tracing, and run by one kernel each.

In: a module of a model, some of whose children are tensor products of `tvm_equi.nn`. Out: its
forward with every gather, product and sum over receivers as one call. Refused, with the reason in
words: forwards that torch.fx cannot trace, or whose trace might compute something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.edges import attach_convolution
from tvm_equi.models.pattern import matches, takes_edges
from tvm_equi.models.rewrite import rewrite
from tvm_equi.models.scan import Scan, scan, watched_values
from tvm_equi.models.state import unusual
from tvm_equi.models.trace import traced
from tvm_equi.models.traced_forward import TracedForward
from tvm_equi.nn.tensor_product import TensorProduct

LIBRARIES = ("e3nn.o3.", "e3nn.nn._", "torch.", "tvm_equi.nn.")
"""Modules of these have no convolutions in their forward."""

_CONTAINERS = (torch.nn.ModuleList, torch.nn.ModuleDict)


@dataclass(frozen=True, slots=True)
class Fusion:
    """What became of a module's forward.

    Args:
        forward: to put in its place; None where nothing was fused.
        products: those that are computed inside convolutions, by their path in the module.
        reason: why nothing, or not everything, was fused; "" where there was nothing to fuse.
    """

    forward: TracedForward | None
    products: Mapping[str, TensorProduct]
    reason: str


NOTHING = Fusion(None, {}, "")


def fuse(module: torch.nn.Module) -> Fusion:
    """Fuses the convolutions of a module's own forward.

    Args:
        module: of a model; nothing of it is changed.
    """
    products = _products(module)
    if not products or type(module).__module__.startswith(LIBRARIES):
        return NOTHING
    if isinstance(vars(module).get("forward"), TracedForward):
        return NOTHING
    seen = scan(module)
    if not seen.sums_rows:
        return NOTHING
    if reason := unusual(module) or seen.reason:
        return Fusion(None, {}, reason)
    try:
        return _fused(module, seen, products)
    except UnsupportedError as error:
        return Fusion(None, {}, str(error))


def _fused(module: torch.nn.Module, seen: Scan, products: Mapping[str, TensorProduct]) -> Fusion:
    """The fusion of a module that may be traced.

    Raises:
        UnsupportedError: torch.fx cannot trace it.
    """
    modes = (True, False) if "training" in seen.names else (module.training,)
    sources: dict[bool | None, str] = {}
    names: dict[str, Any] = {}
    fused: set[str] = set()
    reason = ""
    for mode in modes:
        graph, inside, refused = _rewritten(module, training=mode)
        code = graph.python_code("self")
        sources[mode if len(modes) > 1 else None] = code.src
        names |= code.globals
        fused |= inside
        reason = reason or refused
    if not fused:
        return Fusion(None, {}, reason)
    for path in fused:
        attach_convolution(products[path])
    forward = TracedForward(module, sources, names, watched_values(module, seen.names))
    return Fusion(forward, {path: products[path] for path in sorted(fused)}, reason)


def _rewritten(module: torch.nn.Module, *, training: bool) -> tuple[fx.Graph, set[str], str]:
    """The graph with its convolutions, the products in them, and why others are not."""
    modules = dict(module.named_modules(remove_duplicate=False))
    excluded: set[str] = set()
    reason = ""
    while True:
        graph = traced(module, training=training)
        inside: set[str] = set()
        try:
            while found := [m for m in matches(graph, modules) if m.product.name not in excluded]:
                excluding = found[0].product.name
                rewrite(graph, found[0])
                inside.add(str(found[0].product.target))
        except UnsupportedError as error:
            excluded.add(excluding)
            reason = str(error)
            continue
        graph.lint()
        for node in graph.nodes:
            node.type = None  # annotations of arguments, which need imports
        return graph, inside, reason


def _products(module: torch.nn.Module) -> dict[str, TensorProduct]:
    """The tensor products that a module's own forward may call, by path."""
    found: dict[str, TensorProduct] = {}
    for name, child in module._modules.items():
        if isinstance(child, TensorProduct) and takes_edges(child):
            found[name] = child
        elif isinstance(child, _CONTAINERS):
            inner = _products(child)
            found |= {f"{name}.{path}": product for path, product in inner.items()}
    return found
