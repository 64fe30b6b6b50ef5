"""Converters of this package's operators, and a map of them for TVM's own importer.

In: the arguments of `tvm_equi::run`, `convolve` and `sort_edges`. Out: calls of the operators of
those names in Relax.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, tirx

from tvm_equi.relax import operators
from tvm_equi.relax.converters.table import converts
from tvm_equi.relax.steps import Expr, Steps


@converts("tvm_equi.run.default")
def run(steps: Steps, inputs: Sequence[Expr], plan: str) -> list[Expr]:
    """The outputs of a kernel."""
    return _parts(steps.builder, operators.run(inputs, plan))


@converts("tvm_equi.convolve.default")
def convolve(
    steps: Steps, inputs: Sequence[Expr], topology: Sequence[Expr], plan: str
) -> list[Expr]:
    """The outputs of a kernel over edges."""
    return _parts(steps.builder, operators.convolve(inputs, topology, plan))


@converts("tvm_equi.sort_edges.default")
def sort_edges(
    steps: Steps, edge_index: Expr, side: int, num_senders: Any, num_receivers: Any
) -> list[Expr]:
    """The edges in the order of one side."""
    return _parts(
        steps.builder,
        operators.sort_edges(edge_index, side, _count(num_senders), _count(num_receivers)),
    )


def _count(number: Any) -> Expr:
    return tirx.IntImm("int64", number) if isinstance(number, int) else number


def _parts(builder: Any, call: Expr) -> list[Expr]:
    """What a call gives, one by one."""
    values = builder.emit(call)
    return [builder.emit(relax.TupleGetItem(values, n)) for n in range(len(values.ty.fields))]


def _imported(make: Callable[..., Expr]) -> Callable[[Any, Any], list[Expr]]:
    """The converter in the form that TVM's importer takes: of torch's node and of the importer."""

    def convert(node: Any, importer: Any) -> list[Expr]:
        return _parts(importer.block_builder, make(*importer.retrieve_args(node)))

    return convert


def _import_sort(edge_index: Expr, side: int, num_senders: Any, num_receivers: Any) -> Expr:
    return operators.sort_edges(edge_index, side, _count(num_senders), _count(num_receivers))


CONVERT_MAP: dict[str, Callable[[Any, Any], list[Expr]]] = {
    "run.default": _imported(operators.run),
    "convolve.default": _imported(operators.convolve),
    "sort_edges.default": _imported(_import_sort),
}
"""For `custom_convert_map` of `tvm.relax.frontend.torch.from_exported_program`."""
