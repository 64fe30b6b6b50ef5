"""The short text form of one tensor product, or of one convolution.

    {"tensor_product": {"irreps_in1": "128x0e+128x1o", "irreps_in2": "0e+1o+2e", "irreps_out":
    "0e+1o+2e",
                        "instructions": "channelwise"}}

In: JSON, in this form or that of a whole graph. Out: a graph with inputs x, y and, for weights per
row, w, and the output "out". With the key "convolution" the same fields stand for the product of
each edge: x is on nodes, y and w are on edges, and the indices senders and receivers are inputs
too. Refused: unknown keys, with the nearest spelling, and wrong types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_equi.algebra.contraction import Layout
from tvm_equi.errors import GraphError, unknown_choice
from tvm_equi.graph.builder import GraphBuilder
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.instructions import RawInstruction, channelwise, fully_connected
from tvm_equi.graph.operations import Instruction
from tvm_equi.graph.operations.products import WEIGHT_ROWS, num_weights
from tvm_equi.graph.serialize import check_keys, decode, from_data, load_json
from tvm_equi.graph.types import DType, IrrepsText, Rows, parse_irreps

KEYS = ("tensor_product", "convolution")
REQUIRED = ("irreps_in1", "irreps_in2", "irreps_out")
OPTIONAL: Mapping[str, Any] = {
    "weights": str,
    "in1_var": tuple[float, ...],
    "in2_var": tuple[float, ...],
    "out_var": tuple[float, ...],
    "irrep_normalization": str,
    "path_normalization": str,
    "layout": Layout,
    "dtype": DType,
}
PATTERNS = {"channelwise": channelwise, "fully_connected": fully_connected}


def read_spec(text: str) -> TensorProductGraph:
    """The graph of a specification, in any form.

    Args:
        text: JSON.

    Raises:
        GraphError: the text is not of this form; names the key.

    Example:
        >>> fields = '"irreps_in1": "8x0e", "irreps_in2": "1o", "irreps_out": "1o"'
        >>> read_spec('{"tensor_product": {' + fields + "}}").types["out"].irreps
        '1x1o'
    """
    data = load_json(text)
    key = next((key for key in KEYS if isinstance(data, dict) and key in data), None)
    if key is None:
        return from_data(data)
    check_keys("spec", data, required=(key,))
    fields = data[key]
    where = f"spec: {key}"
    check_keys(where, fields, REQUIRED, ("instructions", *OPTIONAL))
    in1, in2, out = (decode(IrrepsText, fields[name], f"{where}.{name}") for name in REQUIRED)
    options = {
        name: decode(kind, fields[name], f"{where}.{name}")
        for name, kind in OPTIONAL.items()
        if name in fields
    }
    chosen = fields.get("instructions", "fully_connected")
    if isinstance(chosen, str):
        if chosen not in PATTERNS:
            raise GraphError(unknown_choice("spec", f"{key}.instructions", PATTERNS, chosen))
        out, instructions = PATTERNS[chosen](in1, in2, out)
    else:
        instructions = _instructions(chosen, f"{where}.instructions")
    default = "row" if chosen == "channelwise" else "shared"
    return _graph(key, (in1, in2, out), instructions, options, default)


def _instructions(given: Any, where: str) -> tuple[RawInstruction, ...]:
    """e3nn's tuples, with path weight 1 where none is given.

    Raises:
        GraphError: an entry is of another form.
    """
    if not isinstance(given, list):
        raise GraphError(f"{where}: expected a list, or one of {sorted(PATTERNS)}, got {given!r}")
    filled = [[*item, 1.0] if isinstance(item, list) and len(item) == 5 else item for item in given]
    return decode(tuple[RawInstruction, ...], filled, where)  # type: ignore[no-any-return]


def _graph(
    key: str,
    irreps: tuple[IrrepsText, ...],
    instructions: tuple[RawInstruction, ...],
    options: dict[str, Any],
    default_weights: str,
) -> TensorProductGraph:
    """The graph of one tensor product or convolution.

    Raises:
        GraphError: something does not fit.
    """
    in1, in2, out = irreps
    build = GraphBuilder(
        dtype=options.pop("dtype", "float32"), layout=options.pop("layout", "mul_ir")
    )
    has_weights = any(instruction[4] for instruction in instructions)
    weights = options.pop("weights", default_weights if has_weights else "none")
    if weights not in WEIGHT_ROWS:
        raise GraphError(unknown_choice("spec", f"{key}.weights", WEIGHT_ROWS, weights))
    if has_weights != (weights != "none"):
        wanted = "'row' or 'shared'" if has_weights else "'none'"
        raise GraphError(
            f"spec: {key}.weights: expected {wanted} for these instructions, got {weights!r}"
        )
    rows: Rows = "edge" if key == "convolution" else "node"
    x = build.input("x", in1, rows="node")
    y = build.input("y", in2, rows=rows)
    given = None
    if weights == "row":
        size = _weight_size(irreps, instructions)
        given = build.input("w", f"{size}x0e", rows=rows)
    if key == "tensor_product":
        return build.graph(
            build.tensor_product("out", x, y, out, instructions, weights=given, **options)
        )
    indices = [build.index(name, rows="edge", into="node") for name in ("senders", "receivers")]
    sent = build.gather("out.sent", x, indices[0])
    product = build.tensor_product(
        "out.product", sent, y, out, instructions, weights=given, **options
    )
    return Fuse()(build.graph(build.scatter_sum("out", product, indices[1])))


def _weight_size(irreps: tuple[IrrepsText, ...], instructions: tuple[RawInstruction, ...]) -> int:
    """The number of weights; instructions out of range count none and are refused later."""
    in1, in2, out = (parse_irreps(text) for text in irreps)
    total = 0
    for i, j, k, mode, has_weight, _ in instructions:
        is_known = 0 <= i < len(in1) and 0 <= j < len(in2) and 0 <= k < len(out)
        if is_known and mode in _MODES:
            instruction = Instruction(i, j, k, mode, has_weight, 1.0)
            total += num_weights(instruction, in1[i].mul, in2[j].mul, out[k].mul)
    return total


_MODES = frozenset({"uvw", "uvu", "uvv", "uuw", "uuu", "uvuv", "uvu<v", "u<vw"})
