"""Instructions: e3nn's shapes of weights in each mode; other tests have the refusals."""

import pytest
from e3nn import o3

from tvm_equi.nn.instructions import (
    MODES,
    LinearInstruction,
    parse_biases,
    parse_instructions,
    parse_pairs,
)

FITTING = {
    "uvw": (2, 3, 5),
    "uvu": (2, 3, 2),
    "uvv": (2, 3, 3),
    "uuw": (3, 3, 5),
    "uuu": (3, 3, 3),
    "uvuv": (2, 3, 6),
    "uvu<v": (4, 4, 6),
    "u<vw": (4, 4, 5),
}


@pytest.mark.parametrize("mode", MODES)
def test_shapes_are_e3nns(mode: str) -> None:
    in1, in2, out = (o3.Irreps(f"{mul}x1e") for mul in FITTING[mode])
    instructions = [(0, 0, 0, mode, True)]
    reference = o3.TensorProduct(in1, in2, out, instructions, compile_left_right=False)
    (ours,) = parse_instructions("f", in1, in2, out, instructions)
    assert ours.path_shape == reference.instructions[0].path_shape
    assert ours[:5] == reference.instructions[0][:5]
    assert ours.path_weight == 1.0


def test_paths_without_channels_fit_every_mode() -> None:
    none, some = o3.Irreps("0x1e"), o3.Irreps("3x1e")
    (parsed,) = parse_instructions("f", none, some, some, [(0, 0, 0, "uuu", True, 2)])
    assert parsed.path_shape == (0,)
    assert parsed.path_weight == 2.0


def test_pairs_of_equal_irreps() -> None:
    first, last = o3.Irreps("0e + 1o + 0e"), o3.Irreps("0e + 1e + 1o")
    assert parse_pairs("f", first, last, None) == [(0, 0), (1, 2), (2, 0)]
    assert parse_pairs("f", first, last, [(2, 0)]) == [(2, 0)]


def test_biases_of_scalars() -> None:
    irreps = o3.Irreps("0e + 0o + 1o")
    assert list(parse_biases("f", irreps, True)) == [True, False, False]
    assert list(parse_biases("f", irreps, None)) == [False, False, False]
    assert list(parse_biases("f", irreps, [True, False, False])) == [True, False, False]


def test_fields_are_e3nns() -> None:
    reference = o3.Linear("0e", "0e").instructions[0]
    assert LinearInstruction._fields == reference._fields
