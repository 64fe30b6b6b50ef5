"""Arguments that a convolution refuses, each with an error that names it."""

from typing import Any

import pytest
import torch

from tvm_equi import TensorProductConv, Topology
from tvm_equi.errors import ArgumentError, ArgumentTypeError, IndexRangeError

PATHS = [(0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True)]
CONV = TensorProductConv(
    "3x0e", "1x0e+1x1o", "3x0e+3x1o", PATHS, shared_weights=False, internal_weights=False
)
SHARED = TensorProductConv(
    "3x0e", "1x0e+1x1o", "3x0e+3x1o", PATHS, shared_weights=True, internal_weights=False
)
EDGES = torch.tensor([[0, 1, 3, 3], [2, 2, 0, 1]])
GIVEN: dict[str, Any] = {
    "x": torch.randn(4, 3),
    "edge_attr": torch.randn(4, 4),
    "weight": torch.randn(4, 6),
    "edge_index": EDGES,
}
RADIAL: dict[str, Any] = {"weight": None, "radial": torch.randn(4, 5), "last": torch.randn(5, 6)}


def test_right_arguments() -> None:
    assert CONV(**GIVEN).shape == (4, 12)
    assert CONV(**GIVEN, num_nodes=9).shape == (9, 12)
    assert CONV(**(GIVEN | RADIAL)).shape == (4, 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.randn(2, 2, 3)}, r"x: expected shape \[senders, 3\], got \[2, 2, 3\]"),
        ({"x": torch.randn(4, 4)}, r"x: expected shape \[..., 3\], got \[4, 4\]"),
        ({"edge_index": None}, r"edge_index: expected a tensor \[2, edges\] or a Topology"),
        ({"edge_index": EDGES[0]}, r"edge_index: expected shape \[2, edges\], got \[4\]"),
        ({"edge_index": Topology(EDGES, 5)}, "x: expected 5 rows, one for each sender"),
        (
            {"edge_index": Topology(EDGES, 4), "num_nodes": 5},
            "num_nodes: expected None or the topology's 4 receivers, got 5",
        ),
        ({"edge_attr": None}, "edge_attr: expected a tensor, or edge_vectors in its place"),
        ({"edge_attr": torch.randn(3, 4)}, r"edge_attr: expected shape \[4, 4\], a row for each"),
        ({"edge_vectors": torch.randn(4, 3)}, "edge_attr: expected None where edge_vectors"),
        ({"weight": None}, "weight: expected a tensor of shape"),
        ({"weight": torch.randn(3, 6)}, r"weight: expected shape \[4, 6\], a row for each edge"),
        ({"radial": torch.randn(4, 5)}, "last: expected radial and last together, got None"),
        ({"last": torch.randn(5, 6)}, "radial: expected radial and last together, got None"),
        ({**RADIAL, "weight": torch.randn(4, 6)}, "radial: expected weights per edge and no"),
        ({**RADIAL, "last": torch.randn(5, 7)}, r"last: expected shape \[..., 6\]"),
        ({**RADIAL, "last": torch.randn(6)}, r"last: expected shape \[hidden, 6\], got \[6\]"),
        ({**RADIAL, "radial": torch.randn(4, 6)}, r"radial: expected shape \[..., 5\]"),
        ({**RADIAL, "radial": torch.randn(3, 5)}, r"radial: expected shape \[4, 5\]"),
    ],
)
def test_wrong_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^(TensorProductConv|Topology): {message}"):
        CONV(**(GIVEN | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edge_index": EDGES.float()}, r"expected int64 or int32, got torch\.float32"),
        ({"edge_index": EDGES.bool()}, r"expected int64 or int32, got torch\.bool"),
        ({"num_nodes": 2.0}, "num_nodes: expected a number"),
        ({"edge_attr": torch.randn(4, 4).double()}, "edge_attr: expected float32 as the first"),
        ({"x": [1.0]}, "x: expected a tensor, got list"),
    ],
)
def test_wrong_types_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        CONV(**(GIVEN | change))


def test_indices_out_of_range_are_refused() -> None:
    for edges in (EDGES + 1, EDGES - 1):
        with pytest.raises(IndexRangeError, match="edge_index: expected"):
            CONV(**(GIVEN | {"edge_index": edges}))
    with pytest.raises(IndexError, match=r"receivers \(row 1\) from 0 to 1, got 0 to 2"):
        CONV(**GIVEN, num_nodes=2)


def test_radial_weights_that_are_shared_are_refused() -> None:
    with pytest.raises(ArgumentError, match="got shared_weights True"):
        SHARED(**(GIVEN | RADIAL))


def test_harmonics_that_vectors_cannot_give_are_refused() -> None:
    for irreps in ("1x0e+1x1e+1x1o", "2x1o"):
        paths = [(0, 0, 0, "uvu", True)]
        first = irreps.split("+", maxsplit=1)[0][2:]
        conv = TensorProductConv("3x0e", irreps, f"3x{first}", paths)
        with pytest.raises(ArgumentError, match="expected irreps_in2 of spherical harmonics"):
            conv(GIVEN["x"], edge_index=EDGES, edge_vectors=torch.randn(4, 3))


def test_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ArgumentError, match="harmonics_normalization: expected one of"):
        TensorProductConv("3x0e", "0e", "3x0e", PATHS[:1], harmonics_normalization="componnent")
