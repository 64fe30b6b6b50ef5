"""Prune a model on request: whole paths and channels that add little, for `compile` to take again.

In: a graph or module, and a threshold. Out: a smaller module under the same names of parameters,
and a report. The function changes, its equivariance does not; see `graph.slim`. What changes no
number is pruned by `compile` anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tvm_equi.compiler import as_graph
from tvm_equi.errors import ArgumentError, unknown_choice
from tvm_equi.graph.slim import Slim, SlimReport
from tvm_equi.graph.totals import Sizes
from tvm_equi.nn.graph_module import GraphModule

if TYPE_CHECKING:
    from tvm_equi.graph import TensorProductGraph


@dataclass(frozen=True, slots=True)
class Pruned:
    """A smaller model, and what went.

    Args:
        module: runs the smaller graph; `tvm_equi.compile` takes it.
        report: paths and channels that went, and the cost saved; prints as a table.
    """

    module: GraphModule
    report: SlimReport


def prune(
    graph_or_module: TensorProductGraph | torch.nn.Module,
    threshold: float,
    *,
    parameters: Mapping[str, torch.Tensor] | None = None,
    data: Mapping[str, torch.Tensor] | None = None,
    channels: bool = True,
    multiple: int = 1,
    sizes: Sizes = Sizes(),  # noqa: B008 (frozen)
) -> Pruned:
    """Leaves out paths and channels that add little.

    A path goes if what it adds is below `threshold` times what the largest path of its operation
    adds: the norm of its weights times the mean size of what it couples, which rotations keep. A
    channel goes if that is so in every operation that mixes it. Paths and channels whose weights
    are exactly zero go at any threshold.

    Args:
        graph_or_module: a graph, a `GraphModule` or artifact, or an e3nn or tvm_equi module.
        threshold: from 0 (only what is exactly zero) to 1.
        parameters: values by name, for a graph, which has none.
        data: inputs by name to measure sizes on; by default all are taken to have unit variance.
        channels: whether channels go, or paths only.
        multiple: channels stay in multiples of this, e.g. of the lanes of a vector.
        sizes: numbers of rows that the saved work is counted for.

    Returns:
        A module to train on or to compile, and a report.

    Raises:
        ArgumentError: a threshold out of range, an unknown input, or a parameter without a value.

    Example:
        >>> import tvm_equi
        >>> layer = tvm_equi.Linear("4x0e+4x1o", "4x0e+4x1o")
        >>> with torch.no_grad():
        ...     _ = layer.weight[16:].zero_()
        >>> pruned = tvm_equi.prune(layer, 0.0)
        >>> print(pruned.report.removed[0].what)
        path 4x1o -> 4x1o
    """
    graph, found = as_graph(graph_or_module, None)
    given = {**found, **(parameters or {})}
    for name in data or {}:
        if name not in graph.inputs:
            raise ArgumentError(unknown_choice("prune", "data", graph.inputs, name))
    slim = Slim(threshold, channels, multiple, sizes)
    arrays = {name: value.detach().cpu().double().numpy() for name, value in given.items()}
    measured = None
    if data is not None:
        measured = {name: value.detach().cpu().numpy() for name, value in data.items()}
    smaller, values, report = slim(graph, arrays, measured)
    tensors = {
        name: torch.from_numpy(value).requires_grad_(given[name].requires_grad)
        for name, value in values.items()
    }
    return Pruned(GraphModule(smaller, tensors), report)
