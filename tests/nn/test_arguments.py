"""Parsers and checks that every module uses; the modules' tests hold the texts that users see."""

import pytest
import torch
from e3nn import o3

from tvm_equi.errors import ArgumentError
from tvm_equi.nn import arguments


def test_parsers_give_what_came() -> None:
    assert arguments.parse_irreps("f", "x", [(2, "1o")]) == o3.Irreps("2x1o")
    assert arguments.parse_filter("f", None) is None
    assert arguments.parse_filter("f", ["1o"]) == [o3.Irrep("1o")]
    assert arguments.degrees(o3.Irreps("2x1o + 0x3e")) == ((2, 1), (0, 3))
    assert arguments.parse_layout("f", "ir_mul") == "ir_mul"
    assert arguments.parse_features("f", 2, 3) == (2, 3)
    assert arguments.parse_features("f", None, None) == ()
    assert arguments.parse_variances("f", "x", None, o3.Irreps("0e + 1o")) == [1.0, 1.0]
    assert arguments.parse_variances("f", "x", torch.tensor([2.0]), o3.Irreps("0e")) == [2.0]


@pytest.mark.parametrize(
    ("internal", "shared", "default", "wanted"),
    [
        (None, None, True, (True, True)),
        (None, None, False, (False, True)),
        (None, False, True, (False, False)),
        (None, True, True, (True, True)),
        (False, None, True, (False, True)),
        (True, None, False, (True, True)),
    ],
)
def test_weight_flags(
    internal: bool | None, shared: bool | None, default: bool, wanted: tuple[bool, bool]
) -> None:
    assert arguments.resolve_weight_flags("f", internal, shared, default=default) == wanted


@pytest.mark.parametrize(
    "batches", [[(), ()], [(2, 1), (3,)], [(1,), (0,)], [(4, 1, 2), (3, 1), (1,)], [(5,), ()]]
)
def test_broadcasts_like_torch(batches: list[tuple[int, ...]]) -> None:
    named = [(str(number), batch) for number, batch in enumerate(batches)]
    assert arguments.broadcast_batch("f", named) == tuple(torch.broadcast_shapes(*batches))


def test_refuses_what_torch_does_not_broadcast() -> None:
    message = r"f: y: expected leading dimensions that broadcast, got x \[0\], y \[2\]"
    with pytest.raises(ArgumentError, match=message):
        arguments.broadcast_batch("f", [("x", (0,)), ("y", (2,))])


def test_rows_are_flattened_without_a_copy() -> None:
    x = torch.randn(4, 3)
    assert arguments.flatten_rows(x, (4,)) is x
    assert arguments.flatten_rows(x, (2, 4)).shape == (8, 3)
    assert arguments.flatten_rows(x[0], ()).shape == (1, 3)
    assert arguments.flatten_rows(x[:, :0], (4, 0)[:1]).shape == (4, 0)
    assert arguments.flatten_rows(x[:0], (3, 0)).shape == (0, 3)
