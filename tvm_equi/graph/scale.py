"""Values times even scalars: given ones, or functions of their lengths.

In: a value of a builder. Out: nodes of existing operations; the products are tensor products
without weights. Refused: scalars that are neither one per row nor one per channel.
"""

from __future__ import annotations

from tvm_equi.errors import GraphError
from tvm_equi.graph.builder import GraphBuilder
from tvm_equi.graph.operations import Activation, ScalarFunction
from tvm_equi.graph.types import Irrep, format_irreps


def add_scale(build: GraphBuilder, name: str, x: str, factors: str) -> str:
    """Adds the product of a value with one even scalar per row, or with one per channel.

    Args:
        build: takes the node.
        name: of the value.
        x: the value.
        factors: of irreps 1x0e, or with a segment of as many scalars for each segment of x.

    Raises:
        GraphError: other factors.
    """
    segments = build.value(x).segments
    each = format_irreps(tuple(Irrep(irrep.mul, 0, 1) for irrep in segments))
    given = build.value(factors).irreps
    if given not in ("1x0e", each):
        raise GraphError(f"node {name!r} (scale): factors: expected 1x0e or {each}, got {given}")
    if given == each:
        paths = [(k, k, k, "uuu", False, 1.0) for k in range(len(segments))]
    else:
        paths = [(k, 0, k, "uvu", False, 1.0) for k in range(len(segments))]
    return build.tensor_product(name, x, factors, build.value(x).irreps, paths)


def add_norm_activation(build: GraphBuilder, name: str, x: str, function: ScalarFunction) -> str:
    """Adds the product of each irrep with a function of its length.

    Args:
        build: takes the nodes.
        name: of the value.
        x: the value.
        function: as it is, without a factor.

    Source:
        Thomas et al., Tensor field networks (2018), section 4.1.3.
    """
    num = len(build.value(x).segments)
    lengths = build.norm(f"{name}.norm", x)
    plain = Activation((function,) * num, (1.0,) * num)
    return add_scale(build, name, x, build.add(f"{name}.factors", plain, lengths))
