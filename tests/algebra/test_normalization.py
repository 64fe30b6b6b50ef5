"""Path coefficients: equal to e3nn's in each mode and normalisation; refusals say what is wrong."""

import random
import re
from collections.abc import Callable

import pytest
from e3nn import o3

from tvm_equi.algebra.normalization import (
    NUM_SUMMED,
    linear_coefficients,
    tensor_product_coefficients,
)
from tvm_equi.errors import ArgumentError

MULS = (0, 1, 2, 3, 7)


def _pairs(irreps: o3.Irreps) -> tuple[tuple[int, int], ...]:
    return tuple((mul, ir.l) for mul, ir in irreps)


def _muls(mode: str, rng: random.Random) -> tuple[int, int, int]:
    """Multiplicities that fit a mode."""
    u, v, w = rng.choice(MULS), rng.choice(MULS), rng.choice(MULS)
    num_pairs = u * (u - 1) // 2
    return {
        "uvw": (u, v, w),
        "uvu": (u, v, u),
        "uvv": (u, v, v),
        "uuw": (u, u, w),
        "uuu": (u, u, u),
        "uvuv": (u, v, u * v),
        "uvu<v": (u, u, num_pairs),
        "u<vw": (u, u, w),
    }[mode]


def _random_product(
    seed: int, modes: list[str]
) -> tuple[o3.Irreps, o3.Irreps, o3.Irreps, list[tuple[int, int, int, str, bool, float]]]:
    """Irreps and instructions of a valid product; instructions share an output where they can."""
    rng = random.Random(seed)
    in1, in2, out, instructions = [], [], [], []
    for number in range(rng.randint(1, 8)):
        mode = rng.choice(modes)
        l1, l2 = rng.randint(0, 4), rng.randint(0, 4)
        l3, parities = (
            rng.randint(abs(l1 - l2), l1 + l2),
            (rng.choice((1, -1)), rng.choice((1, -1))),
        )
        mul1, mul2, mul3 = _muls(mode, rng)
        in1.append((mul1, (l1, parities[0])))
        in2.append((mul2, (l2, parities[1])))
        new = (mul3, (l3, parities[0] * parities[1]))
        if new not in out or rng.random() < 0.2:
            out.append(new)
        weighted = mode == "u<vw" or (mode != "uvw" and rng.random() < 0.5) or mode == "uvw"
        path_weight = rng.choice((1.0, 0.0, rng.uniform(0, 3)))
        target = rng.choice([index for index, irrep in enumerate(out) if irrep == new])
        instructions.append((number, number, target, mode, weighted, path_weight))
    return o3.Irreps(in1), o3.Irreps(in2), o3.Irreps(out), instructions


def _assert_equal_to_e3nn(
    seed: int, modes: list[str], options: dict[str, object], variances: bool
) -> None:
    in1, in2, out, instructions = _random_product(seed, modes)
    rng = random.Random(seed)
    if variances:
        for name, irreps in (("in1_var", in1), ("in2_var", in2), ("out_var", out)):
            options[name] = [rng.choice((0.0, rng.uniform(0, 4))) for _ in irreps]
    theirs = o3.TensorProduct(in1, in2, out, instructions, compile_left_right=False, **options)
    ours = tensor_product_coefficients(
        _pairs(in1), _pairs(in2), _pairs(out), instructions, **options
    )
    assert ours == pytest.approx([i.path_weight for i in theirs.instructions], rel=1e-13, abs=0)


@pytest.mark.parametrize("mode", sorted(NUM_SUMMED))
@pytest.mark.parametrize("irrep_normalization", ["component", "norm", "none"])
@pytest.mark.parametrize("path_normalization", ["element", "path", "none"])
def test_equal_to_e3nn_in_each_mode(
    mode: str, irrep_normalization: str, path_normalization: str
) -> None:
    options = {
        "irrep_normalization": irrep_normalization,
        "path_normalization": path_normalization,
    }
    for seed in range(4):
        _assert_equal_to_e3nn(seed, [mode], dict(options), variances=seed % 2 == 1)


@pytest.mark.parametrize("path_normalization", ["element", "path", "none"])
def test_equal_to_e3nn_with_modes_mixed(path_normalization: str) -> None:
    for seed in range(40):
        options: dict[str, object] = {"path_normalization": path_normalization}
        _assert_equal_to_e3nn(seed, sorted(NUM_SUMMED), options, variances=seed % 2 == 1)


def test_defaults_are_those_of_e3nn() -> None:
    _assert_equal_to_e3nn(3, ["uvu"], {}, variances=False)


@pytest.mark.parametrize("path_normalization", ["element", "path"])
def test_linear_equal_to_e3nn(path_normalization: str) -> None:
    rng = random.Random(0)
    for _ in range(20):
        irreps_in, irreps_out = (
            o3.Irreps(
                [(rng.choice(MULS), (rng.randint(0, 2), 1)) for _ in range(rng.randint(1, 6))]
            )
            for _ in range(2)
        )
        if irreps_in.dim * irreps_out.dim == 0:
            continue
        theirs = o3.Linear(irreps_in, irreps_out, path_normalization=path_normalization)
        instructions = [(i.i_in, i.i_out) for i in theirs.instructions]
        ours = linear_coefficients(
            _pairs(irreps_in),
            _pairs(irreps_out),
            instructions,
            path_normalization=path_normalization,  # type: ignore[arg-type]
        )
        assert ours == pytest.approx([i.path_weight for i in theirs.instructions], rel=1e-13)


def test_no_instructions() -> None:
    assert tensor_product_coefficients([], [], [], []) == ()
    assert linear_coefficients([], [], []) == ()


def _product(**changes: object) -> tuple[float, ...]:
    arguments: dict[str, object] = {
        "in1": [(2, 1)],
        "in2": [(1, 1)],
        "out": [(2, 0)],
        "instructions": [(0, 0, 0, "uvu", True, 1.0)],
    }
    return tensor_product_coefficients(**(arguments | changes))  # type: ignore[arg-type]


def _linear(**changes: object) -> tuple[float, ...]:
    arguments: dict[str, object] = {
        "irreps_in": [(2, 1)],
        "irreps_out": [(2, 1)],
        "instructions": [(0, 0)],
    }
    return linear_coefficients(**(arguments | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "changes", "message"),
    [
        (
            _product,
            {"irrep_normalization": "components"},
            "irrep_normalization: expected one of 'component', 'none', 'norm', got 'components'; "
            "did you mean 'component'?",
        ),
        (
            _product,
            {"path_normalization": "paths"},
            "path_normalization: expected one of 'element', 'none', 'path', got 'paths'; "
            "did you mean 'path'?",
        ),
        (
            _product,
            {"instructions": [(0, 0, 0, "uvx", True, 1.0)]},
            "instructions[0].mode: expected one of 'u<vw', 'uuu', 'uuw', 'uvu', 'uvu<v', 'uvuv', "
            "'uvv', 'uvw', got 'uvx'; did you mean",
        ),
        (
            _product,
            {"instructions": [(0, 1, 0, "uvu", True, 1.0)]},
            "instructions[0].i_in2: expected 0 <= index < 1, got 1",
        ),
        (
            _product,
            {"instructions": [(0, 0, -1, "uvu", True, 1.0)]},
            "instructions[0].i_out: expected 0 <= index < 1, got -1",
        ),
        (_product, {"in1_var": [1.0, 2.0]}, "in1_var: expected 1 variances, one per irrep, got 2"),
        (
            _product,
            {"instructions": [(0, 0, 0, "uvu", True, -1.0)]},
            "instructions[0].path_weight: expected out_var * path_weight >= 0, got a factor of -1",
        ),
        (
            _linear,
            {"path_normalization": "none"},
            "path_normalization: expected one of 'element', 'path', got 'none'",
        ),
        (
            _linear,
            {"instructions": [(0, 3)]},
            "instructions[0].i_out: expected 0 <= index < 1, got 3",
        ),
    ],
)
def test_refuses(call: Callable[..., object], changes: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(f"coefficients: {message}")):
        call(**changes)
