"""The gate: scalars through a function, other irreps times a function of scalars.

In: a value whose first segments are scalars, gates, then the gated irreps. Out: nodes of existing
operations; the products are tensor products of mode uuu.
"""

from __future__ import annotations

from tvm_equi.errors import GraphError
from tvm_equi.graph.builder import GraphBuilder
from tvm_equi.graph.operations import ScalarFunction
from tvm_equi.graph.types import IrrepsText, canonical_irreps, format_irreps, parse_irreps


def gate_irreps(scalars: str, gated: str) -> str:
    """The irreps that `add_gate` takes: scalars, a gate per gated channel, the gated irreps."""
    num_gates = sum(irrep.mul for irrep in parse_irreps(gated))
    parts = [canonical_irreps(scalars), f"{num_gates}x0e", canonical_irreps(gated)]
    return "+".join(part for part in parts if part)


def gate_parts(name: str, irreps: str) -> tuple[IrrepsText, IrrepsText]:
    """What `gate_irreps` was given: the irreps of scalars and of what is gated.

    Args:
        name: of the gate, for errors.
        irreps: of its input.

    Raises:
        GraphError: they are not even scalars, one gate per gated channel, and the gated irreps.

    Example:
        >>> gate_parts("gate", "8x0e+6x0e+4x1o+2x2e")
        ('8x0e', '4x1o+2x2e')
    """
    segments = parse_irreps(irreps)
    first = next((k for k, irrep in enumerate(segments) if irrep.ir != (0, 1)), len(segments))
    heads, gated = segments[:first], segments[first:]
    num_gates = sum(irrep.mul for irrep in gated)
    if not gated or not heads or heads[-1].mul != num_gates:
        raise GraphError(
            f"node {name!r} (gate): x: expected even scalars, a gate for each other channel, and "
            f"the gated irreps, as in 8x0e+6x0e+4x1o+2x2e, got {irreps}"
        )
    return format_irreps(heads[:-1]), format_irreps(gated)


def add_gate(
    build: GraphBuilder,
    name: str,
    x: str,
    scalars: str,
    gated: str,
    *,
    function: ScalarFunction = "silu",
    gate_function: ScalarFunction = "sigmoid",
) -> str:
    """Adds a gate like e3nn.nn.Gate with one function for all scalars and one for all gates.

    Args:
        build: takes the nodes.
        name: of the value.
        x: has irreps `gate_irreps(scalars, gated)`.
        scalars: irreps of the scalars, all even.
        gated: irreps that are multiplied by the gates.
        function: of the scalars.
        gate_function: of the gates.

    Raises:
        GraphError: x has other irreps.

    Source:
        e3nn 0.6, nn/_gate.py.
    """
    wanted = gate_irreps(scalars, gated)
    if build.value(x).irreps != wanted:
        raise GraphError(
            f"node {name!r} (gate): x: expected irreps {wanted}, got {build.value(x).irreps}"
        )
    heads, others = parse_irreps(scalars), parse_irreps(gated)
    gate_segment = len(heads)
    plain = build.slice(f"{name}.scalars", x, [(s, 0, irrep.mul) for s, irrep in enumerate(heads)])
    active = build.activation(f"{name}.activation", plain, [function] * len(heads))
    parts, start = [], 0
    for irrep in others:
        parts.append((gate_segment, start, start + irrep.mul))
        start += irrep.mul
    gates = build.slice(f"{name}.gates", x, parts)
    active_gates = build.activation(f"{name}.gate_activation", gates, [gate_function] * len(others))
    rest = [(gate_segment + 1 + s, 0, irrep.mul) for s, irrep in enumerate(others)]
    values = build.slice(f"{name}.gated", x, rest)
    instructions = [(s, s, s, "uuu", False, 1.0) for s in range(len(others))]
    product = build.tensor_product(f"{name}.product", values, active_gates, gated, instructions)
    return build.concat(name, active, product)
