"""The operators of this package in Relax: run, convolve and sort_edges, with typing rules.

In: Relax expressions. Out: calls of the operators `relax.tvm_equi.run`, `relax.tvm_equi.convolve`
and `relax.tvm_equi.sort_edges`, which take and give what torch's of those names do. No code
generator knows them: `lower.LowerTensorProducts` makes functions of them. Refused: inputs that do
not fit the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.ir import StringImm

from tvm_equi.errors import ArgumentError
from tvm_equi.relax.sizes import constant
from tvm_equi.runtime.convolution import signature as edge_signature
from tvm_equi.runtime.plans import signature
from tvm_equi.runtime.topology import EDGES_PER_TASK, MAX_TASKS

Expr = Any


def _register(name: str, infer: Callable[[Any], Any], arguments: Sequence[str]) -> Any:
    """A new operator of Relax, without effects."""
    tvm.ir._ffi_api.RegisterOp(name, f"{name} of tvm_equi")
    operator = tvm.ir.Op.get(name)
    operator.set_num_inputs(len(arguments))
    for argument in arguments:
        operator.add_argument(argument, "Expr", argument)
    operator.set_attr("FInferType", lambda call, _context: infer(call))
    operator.set_attr("FPurity", True)
    return operator


def _tensors(where: str, expr: Expr, count: int) -> list[Any]:
    """The types of a tuple of tensors of known shape.

    Raises:
        ArgumentError: others, or another number of them.
    """
    kind = expr.ty
    fields = list(kind.fields) if isinstance(kind, relax.TupleType) else []
    shaped = [
        field
        for field in fields
        if isinstance(field, relax.TensorType) and isinstance(field.shape, relax.ShapeExpr)
    ]
    if len(shaped) != count or len(fields) != count:
        raise ArgumentError(
            f"relax: {where}: expected a tuple of {count} tensors of known shape, got {kind}"
        )
    return fields


def dtype_of(kind: Any) -> str:
    """The name of a tensor type's dtype."""
    return str(kind.dtype)


def num_tasks(num_edges: Expr) -> Expr:
    """Tasks that the edges are split into; see `runtime.topology.num_tasks`."""
    return tirx.min(constant(MAX_TASKS), 2 * (1 + tirx.floordiv(num_edges, EDGES_PER_TASK)))


def _check(where: str, kind: Any, wanted: list[Expr], dtype: str) -> None:
    """Refuses a tensor of another shape or dtype, as far as is known.

    Raises:
        ArgumentError: with both.
    """
    got = list(kind.shape.values)
    analyzer = tvm.sym.Analyzer()
    fits = len(got) == len(wanted) and not any(
        analyzer.can_prove(size != other) for size, other in zip(got, wanted, strict=True)
    )
    if not fits or dtype_of(kind) != dtype:
        raise ArgumentError(f"relax: {where}: expected {dtype} {wanted}, got {kind}")


def _infer_run(call: Any) -> Any:
    """The types of a kernel's outputs.

    Raises:
        ArgumentError: inputs that do not fit the plan.
    """
    facts = signature(str(call.args[1].value))
    kinds = _tensors("tvm_equi.run: inputs", call.args[0], len(facts.inputs))
    dtype = dtype_of(kinds[0])
    with_rows = [kind for kind, (_, rows) in zip(kinds, facts.inputs, strict=True) if rows]
    if not with_rows:
        raise ArgumentError("relax: tvm_equi.run: inputs: expected one with rows, got none")
    rows = with_rows[0].shape.values[0]

    def shape(columns: int, has_rows: bool) -> list[Expr]:
        return [rows, constant(columns)] if has_rows else [constant(columns)]

    for number, (kind, value) in enumerate(zip(kinds, facts.inputs, strict=True)):
        _check(f"tvm_equi.run: inputs[{number}]", kind, shape(*value), dtype)
    return relax.TupleType([relax.TensorType(shape(*value), dtype) for value in facts.outputs])


def counts_of(topology: Sequence[Any]) -> dict[str, Expr]:
    """The numbers of edges ("row"), senders and receivers.

    Args:
        topology: the types of the ten tensors of both orders.
    """
    simplify = tvm.sym.Analyzer().simplify
    return {
        "row": topology[0].shape.values[0],
        "sender": simplify(topology[3].shape.values[0] - 1),
        "receiver": simplify(topology[8].shape.values[0] - 1),
    }


def _infer_convolve(call: Any) -> Any:
    """The types of a convolution's outputs."""
    facts = edge_signature(str(call.args[2].value))
    counts = counts_of(_tensors("tvm_equi.convolve: topology", call.args[1], 10))
    kinds = _tensors("tvm_equi.convolve: inputs", call.args[0], len(facts.inputs))
    dtype = dtype_of(kinds[0])

    def shape(columns: int, rows: str) -> list[Expr]:
        return [constant(columns)] if rows == "shared" else [counts[rows], constant(columns)]

    for number, (kind, value) in enumerate(zip(kinds, facts.inputs, strict=True)):
        _check(f"tvm_equi.convolve: inputs[{number}]", kind, shape(*value), dtype)
    return relax.TupleType([relax.TensorType(shape(*value), dtype) for value in facts.outputs])


def _infer_sort_edges(call: Any) -> Any:
    """The types of an order of edges.

    Raises:
        ArgumentError: an edge index that is none.
    """
    edge_index, side, counts = call.args[0].ty, int(call.args[1].value), call.args[2]
    is_tensor = isinstance(edge_index, relax.TensorType)
    if not is_tensor or dtype_of(edge_index) != "int64" or edge_index.ndim != 2:
        raise ArgumentError(
            f"relax: tvm_equi.sort_edges: edge_index: expected int64 [2, edges], got {edge_index}"
        )
    num_edges = edge_index.shape.values[1]
    shapes = [[num_edges]] * 3
    shapes += [[counts.values[side] + 1], [constant(2), num_tasks(num_edges) + 1]]
    return relax.TupleType([relax.TensorType(shape, "int64") for shape in shapes])


RUN = _register("relax.tvm_equi.run", _infer_run, ("inputs", "plan"))
CONVOLVE = _register("relax.tvm_equi.convolve", _infer_convolve, ("inputs", "topology", "plan"))
SORT_EDGES = _register(
    "relax.tvm_equi.sort_edges", _infer_sort_edges, ("edge_index", "side", "counts")
)


def run(inputs: Sequence[Expr], plan: str) -> Expr:
    """A call of a kernel; see `runtime.torch_op`.

    Args:
        inputs: of the kernel: [rows, columns] or, shared, [columns].
        plan: names the kernel.
    """
    return relax.Call(RUN, [relax.Tuple(list(inputs)), StringImm(plan)])


def convolve(inputs: Sequence[Expr], topology: Sequence[Expr], plan: str) -> Expr:
    """A call of a kernel over edges; see `runtime.convolution`.

    Args:
        inputs: of the kernel.
        topology: both orders of the edges, of five tensors each.
        plan: names the kernel.
    """
    tuples = [relax.Tuple(list(inputs)), relax.Tuple(list(topology))]
    return relax.Call(CONVOLVE, [*tuples, StringImm(plan)])


def sort_edges(edge_index: Expr, side: int, num_senders: Expr, num_receivers: Expr) -> Expr:
    """Edges in the order of one side; see `runtime.topology`.

    Args:
        edge_index: int64 [2, edges].
        side: 0 for the order by senders, 1 by receivers.
        num_senders: how many there are.
        num_receivers: how many there are.
    """
    counts = relax.ShapeExpr([num_senders, num_receivers])
    return relax.Call(SORT_EDGES, [edge_index, relax.prim_value(side), counts])
