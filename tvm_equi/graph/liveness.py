"""Which irreps of a graph are alive: those that can be nonzero, and that an output depends on.

    x: 4x0e                              can be nonzero         an output depends on
    m = Linear(x): 4x0e+4x1o             m: 0e (1o has no path) m: 0e
    t = TensorProduct(m, y): 4x0e+4x1o   t: 0e and 1o           t: 0e
    z = Linear(t): 1x0e                  z: 0e                  z: 0e

Forwards (`support`): a segment is zero for every input if nothing but zeros and forbidden couplings
make it; what a first layer of scalars cannot make is found so. Backwards (`demand`): a segment is
unread if no output depends on it, where couplings of zeros do not count as reading. What is zero
does not depend on who reads it, and values have an order, so that one sweep each way reaches the
fixed point. An operation that is not known here makes all that its type says and reads everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tvm_equi.algebra.products import Instruction
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.operations import (
    Activation,
    Add,
    Concat,
    Convolution,
    Gather,
    Linear,
    LinearPath,
    Norm,
    Operation,
    ScalarMLP,
    ScatterSum,
    Slice,
    Sum,
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.regions import couples
from tvm_equi.graph.types import ValueType, parse_irreps

Segments = frozenset[int]

_NONZERO_AT_ZERO = frozenset({"sigmoid"})
"""The scalar functions with f(0) != 0."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """What is known of the segments of every value.

    Args:
        support: segments that can be nonzero, by the name of the value.
        demand: segments that an output depends on.
    """

    support: Mapping[str, Segments]
    demand: Mapping[str, Segments]


def liveness(graph: TensorProductGraph) -> Liveness:
    """Both sweeps.

    Args:
        graph: to look at.

    Example:
        >>> from tvm_equi.graph import GraphBuilder
        >>> build = GraphBuilder()
        >>> mixed = build.linear("m", build.input("x", "4x0e", rows="node"), "4x0e+4x1o")
        >>> sorted(liveness(build.graph(build.linear("z", mixed, "0e"))).support["m"])
        [0]
    """
    can_be = support(graph)
    return Liveness(can_be, demand(graph, can_be))


def num_segments(graph: TensorProductGraph, name: str) -> int:
    """Segments of a value; none of an index."""
    kind = graph.types[name]
    return len(kind.segments) if isinstance(kind, ValueType) else 0


def support(graph: TensorProductGraph) -> dict[str, Segments]:
    """The segments of every value that can be anything but zero.

    Args:
        graph: to look at.
    """
    found: dict[str, Segments] = {}
    for node in graph.nodes:
        inputs = [found[name] for name in node.inputs]
        nums = [num_segments(graph, name) for name in node.inputs]
        found[node.name] = makes(node.operation, inputs, nums, num_segments(graph, node.name))
    return found


def makes(
    operation: Operation, inputs: Sequence[Segments], nums: Sequence[int], num: int
) -> Segments:
    """The segments of an operation's value that can be nonzero.

    Args:
        operation: that makes the value.
        inputs: segments of each input that can be nonzero.
        nums: segments of each input.
        num: segments of the value.
    """
    match operation:
        case TensorProduct():
            return _product_makes(operation, inputs[0], inputs[1])
        case Convolution(product=product, harmonics=harmonics):
            given = operation.by_name(inputs)
            y = given["y"] if harmonics is None else frozenset(range(len(harmonics.degrees)))
            return _product_makes(product, given["x"], y)
        case Linear():
            live = (
                path.i_out for path in operation.paths if reads_path(operation, path, inputs[0])
            )
            return frozenset(live) | frozenset(operation.biases)
        case Gather() | ScatterSum() | Sum() | Norm():
            return inputs[0]
        case Activation(functions=functions):
            return frozenset(
                k for k in range(num) if k in inputs[0] or functions[k] in _NONZERO_AT_ZERO
            )
        case Add(factors=factors):
            terms = (term for term, factor in zip(inputs, factors, strict=True) if factor)
            return frozenset().union(*terms)
        case Slice(parts=parts):
            return frozenset(k for k, (s, a, b) in enumerate(parts) if s in inputs[0] and a < b)
        case Concat():
            starts = [sum(nums[:number]) for number in range(len(nums))]
            return frozenset(a + k for a, part in zip(starts, inputs, strict=True) for k in part)
        case SymmetricContraction():
            has_any = {output for output, _ in operation.polynomials()}
            return frozenset(has_any) if inputs[0] else frozenset()
        case ScalarMLP(function=function) if not inputs[0] and function not in _NONZERO_AT_ZERO:
            return frozenset()
        case _:
            return frozenset(range(num))


def _product_makes(product: TensorProduct, x: Segments, y: Segments) -> Segments:
    """The segments that some instruction of nonzero segments reaches."""
    return frozenset(
        ins.i_out
        for ins in product.instructions
        if ins.i_in1 in x and ins.i_in2 in y and couples(product, ins)
    )


def demand(
    graph: TensorProductGraph, can_be: Mapping[str, Segments] | None = None
) -> dict[str, Segments]:
    """The segments of every value that an output depends on.

    Args:
        graph: to look at.
        can_be: its support; by default computed here.
    """
    can_be = support(graph) if can_be is None else can_be
    found: dict[str, Segments] = {node.name: frozenset() for node in graph.nodes}
    for name in graph.outputs:
        found[name] = frozenset(range(num_segments(graph, name)))
    for node in reversed(graph.nodes):
        inputs = [can_be[source] for source in node.inputs]
        start = 0
        for slot, source in enumerate(node.inputs):
            num = num_segments(graph, source)
            wanted = found[node.name]
            if isinstance(node.operation, Concat):
                part = frozenset(k - start for k in wanted if start <= k < start + num)
                start += num
            else:
                part = needs(node.operation, slot, wanted, inputs, num)
            found[source] |= part
    return found


def needs(
    operation: Operation, slot: int, wanted: Segments, inputs: Sequence[Segments], num: int
) -> Segments:
    """The segments of one input that an operation reads.

    Args:
        operation: that reads.
        slot: of the input.
        wanted: segments of the operation's value that are read in turn.
        inputs: segments of each input that can be nonzero.
        num: segments of the input.
    """
    match operation, slot:
        case TensorProduct(), 0 | 1:
            live = live_instructions(operation, wanted, inputs[0], inputs[1])
            return frozenset(ins.i_in2 if slot else ins.i_in1 for ins in live)
        case Convolution(), _ if operation.names[slot] in ("x", "y"):
            x, y = convolved(operation, inputs)
            live = live_instructions(operation.product, wanted, x, y)
            is_x = operation.names[slot] == "x"
            return frozenset(ins.i_in1 if is_x else ins.i_in2 for ins in live)
        case Linear(), 0:
            live_paths = (p for p in operation.paths if reads_path(operation, p, inputs[0]))
            return frozenset(path.i_in for path in live_paths if path.i_out in wanted)
        case (Gather() | ScatterSum(), 0):
            return wanted
        case Add(), _:
            is_term = slot in live_terms(operation, wanted, inputs)
            return wanted if is_term else frozenset()
        case (Sum() | Norm() | Activation(), _):
            return wanted
        case Slice(parts=parts), _:
            return frozenset(parts[k][0] for k in wanted)
        case _:
            return frozenset(range(num))


def live_instructions(
    product: TensorProduct, wanted: Iterable[int], x: Segments, y: Segments
) -> list[Instruction]:
    """The instructions that bring something but zero to a wanted segment."""
    return [
        ins
        for ins in product.instructions
        if ins.i_out in wanted and ins.i_in1 in x and ins.i_in2 in y and couples(product, ins)
    ]


def convolved(convolution: Convolution, inputs: Sequence[Segments]) -> tuple[Segments, Segments]:
    """The segments that can be nonzero of both factors of a convolution's product."""
    given = convolution.by_name(inputs)
    if convolution.harmonics is not None:
        return given["x"], frozenset(range(len(convolution.harmonics.degrees)))
    return given["x"], given["y"]


def reads_path(linear: Linear, path: LinearPath, x: Segments) -> bool:
    """Whether a path of a linear layer can give anything but zero."""
    left, out = parse_irreps(linear.irreps_in), parse_irreps(linear.irreps_out)
    muls = (left[path.i_in].mul, out[path.i_out].mul)
    return path.i_in in x and path.coefficient != 0.0 and 0 not in muls


def live_terms(add: Add, wanted: Segments, inputs: Sequence[Segments]) -> tuple[int, ...]:
    """The terms of a sum that bring anything to a wanted segment; the first one, if none does."""
    found = [
        number
        for number, (factor, segments) in enumerate(zip(add.factors, inputs, strict=True))
        if factor and segments & wanted
    ]
    return tuple(found) or (0,)
