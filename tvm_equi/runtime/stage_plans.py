"""The plans of a tensor product over the edges of a graph: on nodes, on edges, on nodes again.

In: the plan of a tensor product, and what is to be computed inside. Out: plans, and how they follow
one another. Weights that all
edges share act on nodes, before edges or after them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tvm_equi.algebra.convolution import stages, substitute
from tvm_equi.algebra.harmonics import harmonics_kernel
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.radial import radial_kernel
from tvm_equi.runtime.plans import resolve

RunPlan = Callable[[str, list[Any]], Sequence[Any]]
"""(plan, inputs) -> outputs, in arrays of any library."""


class StagePlans(NamedTuple):
    """Plans of the stages, and the names of what they take and give.

    Args:
        before: of (x, w) -> h on senders; "" for none.
        edges: of the convolution.
        inputs: names of its inputs: of x, y, w, h; or in the place of y "one" and "vectors", in
            that of w "radial" and "last".
        outputs: names of its outputs: of z, t, s.
        after: of (some of t, s, then w) -> z on receivers; "" for none.
    """

    before: str
    edges: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    after: str


@lru_cache(maxsize=1024)
def stage_plans(product: str, num_hidden: int = 0, harmonics: str = "") -> StagePlans:
    """The plans of a tensor product over edges.

    Args:
        product: plan of the tensor product.
        num_hidden: where weights per edge are computed inside, from so many radial features; else
            0.
        harmonics: normalisation of the spherical harmonics that are computed inside, in the place
            of y; else "".
    """
    parts = stages(resolve(product))
    edges, names = parts.edges, list(parts.edges.inputs)
    if num_hidden and "w" in names:
        number = names.index("w")
        inner = radial_kernel(edges.operand("w"), num_hidden)
        edges = substitute(edges, number, inner)
        names[number : number + 1] = ["radial", "last"]
    if harmonics and "y" in names:
        number = names.index("y")
        edges = substitute(edges, number, harmonics_kernel(edges.operand("y"), harmonics))
        names[number : number + 1] = ["one", "vectors"]
    return StagePlans(
        _plan(parts.before), edges.plan(), tuple(names), parts.edges.outputs, _plan(parts.after)
    )


def run_stages(
    plans: StagePlans, values: Mapping[str, Any], run: RunPlan, convolve: RunPlan
) -> Any:
    """The product, summed over each receiver's edges, by whichever library's operators.

    Args:
        plans: of the stages.
        values: by name: what `plans.inputs` lists but h, and w where there are stages on nodes.
        run: runs a kernel on nodes.
        convolve: runs a kernel over the edges.

    Returns:
        [receivers, columns].
    """
    values = dict(values)
    if plans.before:
        values["h"] = run(plans.before, [values["x"], values["w"]])[0]
    found = convolve(plans.edges, [values[name] for name in plans.inputs])
    sums = dict(zip(plans.outputs, found, strict=True))
    if not plans.after:
        return sums["z"]
    own = sums.pop("z", None)
    product = run(plans.after, [*sums.values(), values["w"]])[0]
    return product if own is None else own + product


def _plan(kernel: Kernel | None) -> str:
    return kernel.plan() if kernel is not None else ""
