"""Convolutions in the forwards of a model: found by tracing, and run by one kernel each.

In: a module of a model, some of whose children are tensor products of `tvm_equi.nn`. Out: its
forward with every gather, product and sum over receivers as one call. Refused, with the reason in
words: forwards that torch.fx cannot trace, or whose trace might compute something else.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.edges import attach_convolution
from tvm_equi.models.pattern import matches, takes_edges
from tvm_equi.models.rewrite import rewrite
from tvm_equi.models.scan import Scan, scan, watched_names
from tvm_equi.models.state import unusual
from tvm_equi.models.trace import Given, traced
from tvm_equi.models.traced_forward import Source, TracedForward, source
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
    """The fusion of a module that may be traced: called with its defaults, or with all arguments.

    Raises:
        UnsupportedError: torch.fx cannot trace it either way.
    """
    given = _constants(module)
    inside, reason = _convolutions(module, given)
    if not inside and None in given.values():
        given = {name: value for name, value in given.items() if value is not None}
        inside, other = _convolutions(module, given)
        reason = other if inside else reason
    if not inside:
        return Fusion(None, {}, reason)
    forward = TracedForward(module, watched_names(module, seen.names), variant)
    forward.prepare(given)
    return Fusion(forward, {path: products[path] for path in sorted(inside)}, reason)


def variant(module: torch.nn.Module, given: Given) -> Source | None:
    """The code of a module's forward with its convolutions; None where it has none.

    Args:
        module: as it is now.
        given: arguments that are constants.
    """
    try:
        graph, inside, _ = _rewritten(module, given)
    except UnsupportedError:
        return None
    if not inside:
        return None
    for path in inside:
        product = module.get_submodule(path)
        if isinstance(product, TensorProduct) and not hasattr(product, "edge_convolution"):
            attach_convolution(product)
    code = graph.python_code("self")
    return source(code.src, code.globals)


def _constants(module: torch.nn.Module) -> dict[str, bool | str | None]:
    """The arguments of a forward whose default is a constant of a trace, with their defaults."""
    parameters = inspect.signature(type(module).forward).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.default is None or isinstance(parameter.default, (bool, str))
    }


def _convolutions(module: torch.nn.Module, given: Given) -> tuple[set[str], str]:
    """Paths of the products in convolutions, and why there are no others."""
    try:
        _, inside, reason = _rewritten(module, given)
    except UnsupportedError as error:
        return set(), str(error)
    return inside, reason


def _rewritten(module: torch.nn.Module, given: Given) -> tuple[fx.Graph, set[str], str]:
    """The graph with its convolutions, the products in them, and why others are not.

    Raises:
        UnsupportedError: torch.fx cannot trace the forward.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    excluded: set[str] = set()
    reason = ""
    while True:
        graph = traced(module, given)
        inside: set[str] = set()
        name = ""
        try:
            while found := [m for m in matches(graph, modules) if m.product.name not in excluded]:
                name = found[0].product.name
                rewrite(graph, found[0])
                inside.add(str(found[0].product.target))
        except UnsupportedError as error:
            excluded.add(name)
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
