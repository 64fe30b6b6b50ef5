"""The text form of a graph: JSON that reads back to an equal graph.

    {"tvm_equi_graph": 1,
     "nodes": [{"name": "x", "operation": "Input", "type": {"irreps": "8x0e+8x1o", "rows": "node"}},
               {"name": "length", "operation": "Norm", "inputs": ["x"]}],
     "outputs": ["length"]}

In: a graph, or text. Out: text, or a graph. Refused: anything that is not exactly this form; the
error names the key, what was expected and what came.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tvm_equi.errors import GraphError, unknown_choice
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import OPERATIONS, Instruction
from tvm_equi.graph.types import IndexType, IrrepsText, ValueType, canonical_irreps

VERSION_KEY = "tvm_equi_graph"
VERSION = 1
NODE_KEYS = ("name", "operation", "inputs")

_LISTS = (Instruction,)
"""Dataclasses that are written as lists of their fields."""


def to_json(graph: TensorProductGraph, *, indent: int | None = None) -> str:
    """The text of a graph.

    Args:
        graph: to write.
        indent: spaces per level; None for one line.
    """
    nodes = [
        {
            "name": node.name,
            "operation": node.kind,
            "inputs": list(node.inputs),
            **{
                item.name: _encode(getattr(node.operation, item.name))
                for item in dataclasses.fields(node.operation)
            },
        }
        for node in graph.nodes
    ]
    data = {VERSION_KEY: VERSION, "nodes": nodes, "outputs": list(graph.outputs)}
    return json.dumps(data, indent=indent, allow_nan=False)


def from_json(text: str) -> TensorProductGraph:
    """The graph of a text.

    Args:
        text: JSON, as `to_json` writes it.

    Raises:
        GraphError: the text is not JSON, or not a graph's; names the key.
    """
    return from_data(load_json(text))


def load_json(text: str) -> Any:
    """The data of a text.

    Args:
        text: JSON.

    Raises:
        GraphError: the text is not JSON, or gives a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except (json.JSONDecodeError, RecursionError) as error:
        raise GraphError(f"graph: text: expected JSON, got: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of pairs.

    Raises:
        GraphError: a key comes twice.
    """
    data = dict(pairs)
    if len(data) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise GraphError(f"graph: {twice}: expected the key once, got it twice")
    return data


def from_data(data: Any) -> TensorProductGraph:
    """The graph of parsed JSON.

    Args:
        data: what `json.loads` gives.

    Raises:
        GraphError: it is not a graph's; names the key.
    """
    check_keys("graph", data, required=(VERSION_KEY, "nodes", "outputs"))
    version = decode(int, data[VERSION_KEY], f"graph: {VERSION_KEY}")
    if version != VERSION:
        newer = "; update tvm_equi" if version > VERSION else ""
        raise GraphError(f"graph: {VERSION_KEY}: expected version {VERSION}, got {version}{newer}")
    if not isinstance(data["nodes"], list):
        raise GraphError(f"graph: nodes: expected a list, got {describe(data['nodes'])}")
    nodes = tuple(_node(item, f"nodes[{number}]") for number, item in enumerate(data["nodes"]))
    outputs = decode(tuple[str, ...], data["outputs"], "graph: outputs")
    return TensorProductGraph(nodes, outputs)


def _node(data: Any, where: str) -> Node:
    """A node of parsed JSON.

    Raises:
        GraphError: naming the key.
    """
    if not isinstance(data, dict):
        raise GraphError(f"graph: {where}: expected an object, got {describe(data)}")
    kind = data.get("operation")
    if not isinstance(kind, str) or kind not in OPERATIONS:
        raise GraphError(unknown_choice("graph", f"{where}.operation", OPERATIONS, kind))
    operation: Any = OPERATIONS[kind]
    fields = {key: value for key, value in data.items() if key not in NODE_KEYS}
    required = (*NODE_KEYS[:2], *_required(operation))
    check_keys(f"graph: {where}", data, required, optional=(*NODE_KEYS, *_hints(operation)))
    name = decode(str, data["name"], f"graph: {where}.name")
    inputs = decode(tuple[str, ...], data.get("inputs", []), f"graph: {where}.inputs")
    return Node(name, _decode_dataclass(operation, fields, f"graph: {where}"), inputs)


@lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    return typing.get_type_hints(kind)


def _required(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass that have no default."""
    missing = dataclasses.MISSING
    return tuple(
        item.name
        for item in dataclasses.fields(kind)
        if item.default is missing and item.default_factory is missing
    )


def _encode(value: Any) -> Any:
    """JSON's types of a field."""
    if isinstance(value, _LISTS):
        return [_encode(getattr(value, item.name)) for item in dataclasses.fields(value)]
    if dataclasses.is_dataclass(value):
        return {item.name: _encode(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def describe(value: Any) -> str:
    """A value of JSON in an error: short, and with its type where that matters."""
    try:
        text = json.dumps(value)
    except RecursionError:  # read at the last possible depth
        return "lists within lists too deep"
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_keys(
    where: str, data: Any, required: typing.Iterable[str], optional: typing.Iterable[str] = ()
) -> None:
    """Refuses anything but an object with the right keys.

    Args:
        where: names the object in errors.
        data: parsed JSON.
        required: keys that must be there.
        optional: keys that may be there.

    Raises:
        GraphError: naming the key, and the nearest spelling of an unknown one.
    """
    if not isinstance(data, Mapping):
        raise GraphError(f"{where}: expected an object, got {describe(data)}")
    required = tuple(required)
    allowed = dict.fromkeys([*required, *optional])
    for key in data:
        if key not in allowed:
            raise GraphError(unknown_choice(where, "key", allowed, key))
    for key in required:
        if key not in data:
            raise GraphError(f"{where}: {key}: expected a value, got none")


def decode(kind: Any, value: Any, where: str) -> Any:
    """A value of JSON as the type of a field.

    Args:
        kind: the type.
        value: parsed JSON.
        where: names the value in errors.

    Raises:
        GraphError: the value is of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALARS:
        return _decode_scalar(kind, value, where)
    if kind is IrrepsText:
        text = _decode_scalar(str, value, where)
        try:
            return canonical_irreps(text)
        except GraphError as error:
            raise GraphError(f"{where}: {str(error).removeprefix('irreps: ')}") from error
    if origin is typing.Literal:
        if value not in arguments:
            place, _, argument = where.rpartition(": ")
            raise GraphError(unknown_choice(place, argument, arguments, value))
        return value
    if origin is types.UnionType and types.NoneType in arguments:
        (chosen,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else decode(chosen, value, where)
    if origin is types.UnionType:
        chosen = IndexType if isinstance(value, Mapping) and "into" in value else ValueType
        return decode(chosen, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    hints = _hints(kind)
    if kind in _LISTS or issubclass(kind, tuple):
        items = _decode_tuple(tuple(hints.values()), value, where)
        return kind(*items)
    check_keys(where, value, _required(kind), hints)
    return _decode_dataclass(kind, value, where)


_SCALARS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
}


def _decode_scalar(kind: Any, value: Any, where: str) -> Any:
    """A number, text or truth value.

    Raises:
        GraphError: the value is of another type.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        bool: isinstance(value, bool),
        int: is_number and isinstance(value, int),
        float: is_number and math.isfinite(value),
        str: isinstance(value, str),
    }[kind]
    if not fits:
        raise GraphError(f"{where}: expected {_SCALARS[kind]}, got {describe(value)}")
    return kind(value)


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    """A list of one type, or of one type per place.

    Raises:
        GraphError: the value is no list, or of another length.
    """
    if not isinstance(value, list):
        raise GraphError(f"{where}: expected a list, got {describe(value)}")
    kinds = arguments
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        kinds = arguments[:1] * len(value)
    if len(kinds) != len(value):
        raise GraphError(f"{where}: expected {len(kinds)} items, got {describe(value)}")
    return tuple(
        decode(kind, item, f"{where}[{number}]")
        for number, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _decode_dataclass(kind: Any, data: Mapping[str, Any], where: str) -> Any:
    """A dataclass from its fields, whose names have been checked.

    Raises:
        GraphError: a field does not fit.
    """
    hints = _hints(kind)
    dot = "." if where.startswith("graph: ") else ": "
    fields = {key: decode(hints[key], value, f"{where}{dot}{key}") for key, value in data.items()}
    try:
        return kind(**fields)
    except GraphError as error:
        raise GraphError(f"{where}: {error}") from error
