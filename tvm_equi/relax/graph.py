"""A graph as a Relax module.

In: a planned graph or the module that runs it. Out: an IRModule with function `main` of the graph's
parameters, then its inputs, which gives a tuple of outputs. Its products are calls of
`relax.tvm_equi.run` and `convolve`, which `LowerTensorProducts` lowers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_equi.export.capture import capture_graph
from tvm_equi.graph import TensorProductGraph
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.relax.translate import translate


def to_relax(
    graph: TensorProductGraph | GraphModule,
    gradients: Mapping[str, tuple[str, str]] | None = None,
) -> Any:
    """The Relax module of a graph.

    Args:
        graph: planned; or a module that runs one.
        gradients: for the name of each further output, the output whose sum is differentiated, and
            the input with respect to which.

    Returns:
        An IRModule. `main` takes the parameters in the order of `graph.parameters`, then the
        inputs, and gives outputs, then gradients.

    Raises:
        ArgumentError: a gradient of no output or to no input.
        UnsupportedError: an operation without a converter.

    Example:
        >>> from tvm_equi.graph import GraphBuilder
        >>> build = GraphBuilder(dtype="float32")
        >>> x = build.input("x", "8x0e+8x1o", rows="node")
        >>> module = to_relax(build.graph(build.linear("out", x, "4x0e+4x1o")))
        >>> [parameter.name for parameter in module["main"].params]
        ['out.weight', 'x']
    """
    module = graph if isinstance(graph, GraphModule) else GraphModule(graph)
    captured, parameters = capture_graph(module, gradients), dict(module.named_parameters())
    return translate(captured, folds=False, parameters=parameters).module
