"""What typing rules ask of their inputs, and how they say no.

In: the types of an operation's inputs. Out: the same, narrowed. The text of an error starts with
the name of the input; the graph adds the name of the node.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm_equi.algebra.contraction import Layout
from tvm_equi.errors import GraphError
from tvm_equi.graph.types import IndexType, Type, ValueType, is_layout_free


def expect_count(inputs: Sequence[Type], names: Sequence[str]) -> None:
    """Refuses a wrong number of inputs.

    Raises:
        GraphError: with the names of the inputs.
    """
    if len(inputs) != len(names):
        raise GraphError(f"inputs: expected {len(names)} ({', '.join(names)}), got {len(inputs)}")


def expect_value(name: str, given: Type) -> ValueType:
    """The type, if it is that of a value.

    Raises:
        GraphError: it is an index.
    """
    if not isinstance(given, ValueType):
        raise GraphError(f"{name}: expected a value, got {given}")
    return given


def expect_index(name: str, given: Type) -> IndexType:
    """The type, if it is that of an index.

    Raises:
        GraphError: it is a value.
    """
    if not isinstance(given, IndexType):
        raise GraphError(f"{name}: expected an index, got {given}")
    return given


def expect_irreps(name: str, given: ValueType, irreps: str) -> None:
    """Refuses other irreps.

    Raises:
        GraphError: with both.
    """
    if given.irreps != irreps:
        raise GraphError(f"{name}: expected irreps {irreps}, got {given.irreps}")


def expect_rows(name: str, given: ValueType | IndexType, rows: str) -> None:
    """Refuses other rows.

    Raises:
        GraphError: with both.
    """
    if given.rows != rows:
        raise GraphError(f"{name}: expected rows {rows!r}, got {given.rows!r}")


def expect_layout(name: str, given: ValueType, layout: Layout) -> None:
    """Refuses another layout, unless both layouts are the same for these irreps.

    Raises:
        GraphError: with both.
    """
    if given.layout != layout and not is_layout_free(given.irreps):
        raise GraphError(f"{name}: expected layout {layout!r}, got {given.layout!r}")


def expect_same_dtype(names: Sequence[str], given: Sequence[ValueType]) -> None:
    """Refuses values of several dtypes.

    Raises:
        GraphError: with the first that differs.
    """
    for name, value in zip(names, given, strict=True):
        if value.dtype != given[0].dtype:
            raise GraphError(
                f"{name}: expected dtype {given[0].dtype!r} like {names[0]}, got {value.dtype!r}"
            )


def expect_scalars(name: str, given: ValueType, num: int | None = None) -> None:
    """Refuses values that are not scalars or, where `num` is given, not so many even ones.

    Raises:
        GraphError: with the irreps.
    """
    if num is None:
        if not given.is_invariant:
            raise GraphError(f"{name}: expected scalars, got {given.irreps}")
    elif given.dim != num or any(irrep.ir != (0, 1) for irrep in given.segments):
        raise GraphError(f"{name}: expected {num} even scalars, got {given.irreps or 'nothing'}")
