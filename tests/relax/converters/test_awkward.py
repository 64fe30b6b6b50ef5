"""Converters on numbers, dtypes and sizes that are easily got wrong, against torch."""

import inspect
from collections.abc import Callable, Sequence

import pytest
import torch

from tests.programs import Function, capture_function, load
from tvm_equi.errors import UnsupportedError
from tvm_equi.export.capture import capture
from tvm_equi.relax.program import build_program
from tvm_equi.relax.translate import translate

INF, NAN = float("inf"), float("nan")
Found = dict[str, torch.Tensor]
Case = Sequence[torch.Tensor]


def check(
    function: Callable[..., Found],
    sizes: Sequence[Sequence[int | str]],
    example: Case,
    cases: Sequence[Case],
    tolerance: float = 1e-12,
) -> None:
    """Compares with torch each number by itself: none is judged by the size of another."""
    names = list(inspect.signature(function).parameters)
    outputs = list(function(*example))
    inputs = dict(zip(names, example, strict=True))
    captured = capture(Function(function), inputs, dict(zip(names, sizes, strict=True)), outputs)
    run = load(build_program(captured))
    for case in cases:
        given = [value.clone() for value in case]
        for (name, wanted), found in zip(function(*case).items(), run(*given), strict=True):
            torch.testing.assert_close(
                found,
                wanted,
                rtol=tolerance,
                atol=torch.finfo(wanted.dtype).tiny if wanted.is_floating_point() else 0,
                equal_nan=True,
                msg=lambda text, name=name: f"{name}: {text}",
            )
        for before, after in zip(case, given, strict=True):
            torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)


def numbers(x: torch.Tensor, y: torch.Tensor) -> Found:
    names = """abs acos acosh asin asinh atan atanh ceil cos cosh erf exp expm1 floor isinf isnan
        isfinite log log1p neg reciprocal relu round rsqrt sigmoid sign sin sinh sqrt tan tanh
        trunc"""
    found = {name: getattr(torch, name)(x) for name in names.split()}
    found |= {f"power {p}": x**p for p in (0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.5)}
    found |= {f"remainder {m}": torch.remainder(x, m) for m in (0.1, 0.75, -0.75, INF)}
    found |= {f"fmod {m}": torch.fmod(x, m) for m in (0.1, -0.75)}
    found |= {
        "silu": torch.nn.functional.silu(x),
        "softplus": torch.nn.functional.softplus(x),
        "softplus, sharp": torch.nn.functional.softplus(x, beta=7.0, threshold=5.0),
        "floor_divide": torch.floor_divide(x, 0.1),
        "truncated": torch.div(x, y, rounding_mode="trunc"),
        "floored": torch.div(x, y, rounding_mode="floor"),
        "atan2": torch.atan2(x, y),
        "maximum": torch.maximum(x, y),
        "minimum": torch.minimum(x, y),
        "clamp": x.clamp(-1, 1),
        "quotient": x / y,
        "itself": x / x,
        "nothing": x - x,
        "zero times": x * 0,
        "times zero": (0.0 * x) + 1.0,
        "eq": x == y,
        "ne": x != y,
        "lt": x < y,
        "ge": x >= y,
        "own eq": x == x,
        "own ne": x != x,
        "own le": x <= x,
        "own gt": x > x,
        "and": torch.logical_and(x, y),
        "not": torch.logical_not(x),
        "truth": x.bool(),
        "where": torch.where(x > 0, x, -INF),
        "filled": y.masked_fill(x > 0, NAN),
    }
    return found


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)]
)
def test_functions_of_numbers_that_are_large_small_or_none(dtype: torch.dtype) -> None:
    sizes = (0, 1e-300, 1e-20, 1e-8, 1e-4, 0.3, 0.5, 0.624, 0.626, 1, 1.5, 2.5, 3.5, 10, 20, 40)
    above = torch.tensor([*sizes, 88, 100, 1e4, 1e10, 1e30, 1e200, INF], dtype=torch.float64)
    x = torch.cat([above, -above, torch.tensor([NAN])]).to(dtype)
    y = x.flip(0)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    cases = [(x, y), (x[5:6], y[5:6]), (x[:0], y[:0]), (x.repeat(500), y.repeat(500))]
    example = (torch.ones(5, dtype=dtype), torch.ones(5, dtype=dtype))
    check(numbers, [("rows",), ("rows",)], example, cases, tolerance)


def integers(n: torch.Tensor, m: torch.Tensor, x: torch.Tensor) -> Found:
    truth, other = n > 0, m > 0
    own = ("abs", "neg", "sign", "ceil", "round", "relu")
    mixed = ("sin", "exp", "sqrt", "sigmoid", "isinf", "isfinite")
    found = {f"own {name}": getattr(torch, name)(n) for name in own}
    found |= {name: getattr(torch, name)(n) for name in mixed}
    found |= {f"power {p}": n**p for p in (0, 1, 2, 3, 33)}
    found |= {f"remainder {m}": n % m for m in (3, -3)}
    found |= {f"floor_divide {m}": n // m for m in (3, -3)}
    return found | {
        "sum": n + m,
        "half": n + 0.5,
        "with truth": n + truth,
        "times truth": n * truth,
        "quotient": n / m,
        "floored": torch.div(n, m, rounding_mode="floor"),
        "truncated": torch.div(n, m, rounding_mode="trunc"),
        "remainder": torch.remainder(n, m),
        "fmod": torch.fmod(n, m),
        "root": (n * n) ** 0.5,
        "bits": (n & m) | (n ^ m),
        "compare": n == 1.5,
        "compare mixed": n < x,
        "truths": truth * other,
        "some": truth + other,
        "less": truth < other,
        "at least": truth >= other,
        "differ": truth != other,
        "odd one": truth ^ ~other,
        "scaled": truth * 2.5,
        "maximum": torch.maximum(n, m),
        "clamp": n.clamp(-1, 2),
        "clamp mixed": n.clamp(-0.5, 1.5),
        "where": torch.where(truth, n, 7),
        "where mixed": torch.where(truth, n, x),
        "int32": n.int() + m,
        "to float": n.int() * 0.5,
        "to double": x.float() * x,
        "to int": (100 * x).long(),
        "rsub": torch.rsub(n, m, alpha=2),
    }


def test_integers_and_truth_values() -> None:
    def case(count: int) -> Case:
        sign = 1 - 2 * torch.randint(0, 2, (count,))
        m = sign * torch.randint(1, 6, (count,))
        return torch.randint(-5, 6, (count,)), m, torch.randn(count, dtype=torch.float64)

    sizes = [("rows",)] * 3  # float32 where torch makes integers floating-point numbers
    check(integers, sizes, case(9), [case(60), case(1), case(0)], 1e-6)


def layouts(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Found:
    rows, both, changed = x.shape[0], torch.cat([x, z]), [x.clone() for _ in range(6)]
    changed[0][:, 2:4] = 1.0
    changed[1][:, -1] = x[:, 0]
    changed[2][0] = 5.0
    changed[3][-1] = 5.0
    changed[4][:, 3:3] = 5.0
    changed[5][:, [-1, 2]] = 5.0
    return {f"changed {n}": value for n, value in enumerate(changed)} | {
        "steps": x[:, ::2],
        "from the end": x[:, -3:-1],
        "backwards": x[:, 4:2],
        "beyond": x[:, 10:20],
        "before": x[:, -100:2],
        "few": x[:, 5:1000:3],
        "last ones": both[-z.shape[0] :] if z.shape[0] else z,
        "after": both[rows:],
        "last": y[:, -1, -2],
        "permute": y.permute(-1, 0, -2),
        "transpose": y.transpose(-1, -2),
        "nothing beside": torch.cat([x[:, :0], x, torch.zeros(0, dtype=x.dtype)], -1),
        "nothing": torch.cat([x[:, :0], x[:, :0]], -1),
        "mixed": torch.cat([x, torch.ones(1, 6, dtype=torch.int64)]).sum(0),
        "stack": torch.stack([x], -1),
        "expand": y.sum(1).expand(3, -1, -1),
        "number": x.sum().expand(rows, 2),
        "flip": x.flip(-1, 0),
        "roll": x.roll(1, -1),
        "repeat": x.repeat(2, 1, 3).sum(1),
        "none": x.repeat(1, 0),
        "pad": torch.nn.functional.pad(x, (-1, 2)),
        "pad away": torch.nn.functional.pad(x, (-6, 0)),
        "pad rows": torch.nn.functional.pad(x, (0, 0, 1, 0), value=2.0).sum(0),
        "pad integers": torch.nn.functional.pad((x > 0).long(), (1, 1), value=3),
        "chunk": x.chunk(4, -1)[1],
        "unbind": y.unbind(-1)[2],
        "constant": torch.tensor([1.0, 2.0], dtype=x.dtype),
        "itself": x.detach(),
        "tenths": torch.arange(0.1, 900.0, 0.1, dtype=x.dtype) + 0 * x.sum(),
        "counted": torch.arange(3, rows + 3) * 2,
    }


def test_layouts() -> None:
    def case(rows: int, edges: int) -> Case:
        shapes = ((rows, 6), (rows, 2, 3), (edges, 6))
        return [torch.randn(shape, dtype=torch.float64) for shape in shapes]

    sizes = [("rows", 6), ("rows", 2, 3), ("edges", 6)]
    check(layouts, sizes, case(5, 7), [case(4, 11), case(1, 1), case(3, 0), case(600, 3)])


def reductions(x: torch.Tensor, n: torch.Tensor, w: torch.Tensor) -> Found:
    norm = torch.linalg.vector_norm
    return {
        "empty sum": x[:, :0].sum(1),
        "empty in all": x[:, :0].sum(),
        "empty mean": x[:, :0].mean(1),
        "empty norm": norm(x[:, :0], dim=1),
        "empty product": x[:, 0, :0] @ w[:0],
        "empty products": x[:, :, :0] @ x[:, :, :0].mT,
        "no axes": x.sum(()),
        "integers": n.int().sum(-1, keepdim=True),
        "wider": x.float().sum(1, dtype=torch.float64),
        "mean": x.mean((0, -1), keepdim=True),
        "amax": x.amax(-1),
        "amin": x.amin((1, -1), keepdim=True),
        "infinite": (x * 0 - INF).amax(1),
        "of integers": n.amin(1),
        "norm": norm(x, dim=(1, -1), keepdim=True),
        "all": norm(x),
        "large": norm(x * 1e150, dim=-1),
        "zero": norm(x * 0, dim=-1),
        "any": (x > 1).any(1),
        "any at all": (x > 3).any(),
        "all of them": (x > -1).all(-1, keepdim=True),
        "unused": torch.addmm(w[0] * NAN, x[:, 0], w, beta=0),
        "scaled": torch.addmm(w[0], x[:, 0], w, beta=0.5, alpha=2),
        "not hidden": (x[:, 0] * NAN) @ (w * 0),
        "column": x[:, 0] @ w[:, :1],
        "square": n @ n.mT,
    }


def test_reductions() -> None:
    def case(rows: int) -> list[torch.Tensor]:
        x, w = torch.randn(rows, 4, 3, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
        return [x, torch.randint(-9, 9, (rows, 3)), w]

    odd = case(9)
    odd[0][0, 0, 0], odd[0][1, 1, 1], odd[0][2, 3, 2] = NAN, INF, -INF
    sizes = [("rows", 4, 3), ("rows", 3), (3, 5)]
    check(reductions, sizes, case(5), [case(4), case(1), case(0), odd, case(500)], 1e-9)


def by_index(x: torch.Tensor, i: torch.Tensor, v: torch.Tensor, k: torch.Tensor) -> Found:
    zeros, columns = torch.zeros_like(x), i[:, None].expand(-1, 3)
    big = torch.full_like(i, 2**53 + 1)
    fixed = torch.tensor([2, -1, 0])
    return {
        "negative": x[:, torch.tensor([-1, 0])],
        "matrix": x[:, torch.tensor([[0, 1], [2, 2]])],
        "side by side": x[i[:, None], torch.tensor([0, 2])],
        "no rows": x[torch.zeros(0, dtype=torch.int64)],
        "int32": x.index_select(0, i.int()),
        "gather": x.gather(-1, torch.full((1, 2), 2)),
        "one_hot": torch.nn.functional.one_hot(k, 3),
        "added from the end": zeros.index_add(-2, i, v, alpha=-1.5),
        "columns": x.index_add(-1, torch.tensor([2, 2]), x[:, :2]),
        "put": x.index_put((torch.tensor(0), torch.tensor([-1, 2])), v.new_ones(2), True),
        "copied": x.index_copy(1, torch.tensor([1]), x[:, :1]),
        "filled": x.index_fill(1, torch.tensor([0, 2]), 2.0),
        "of each": x.index_put((torch.arange(3)[:, None] * 0, fixed), v.new_ones(()), True),
        "integers": big.new_zeros(x.shape[0]).index_add(0, i, big),
        "scattered": zeros.scatter_add(0, columns, v),
        "one number": zeros.index_put((i,), v.new_ones(()), accumulate=True),
        "onto": x.index_put((i, k), v[:, 0], accumulate=True),
    }


def test_indices_that_repeat_or_count_from_the_end() -> None:
    def case(rows: int, edges: int) -> Case:
        x, v = (torch.randn(n, 3, dtype=torch.float64) for n in (rows, edges))
        return x, torch.randint(0, rows, (edges,)), v, torch.randint(0, 3, (edges,))

    sizes = [("rows", 3), ("edges",), ("edges", 3), ("edges",)]
    cases = [case(4, 11), case(2, 1), case(3, 0), case(2, 300)]
    check(by_index, sizes, case(5, 7), cases, 1e-11)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: {"out": x[:, [3]]}, "expected a constant index of 3 places, got 3"),
        (lambda x: {"out": x[torch.tensor([-1])]}, "expected a constant index of rows places"),
        (
            lambda x: {
                "out": x.new_zeros(3, 3).scatter_add(
                    0, torch.tensor([[0], [2], [1]]).expand(3, 3), x.t() @ x
                )
            },
            "expected an index that depends on inputs, got a constant",
        ),
        (
            lambda x: {"out": x.scatter_add(0, x[:, :2].long(), x)},
            "expected axis 0, and an index that is one number for each row",
        ),
        (
            lambda x: {"out": x.scatter_add(0, x[:, :1].long().expand(-1, 2), x)},
            "expected an index for each number of whole rows",
        ),
        (
            lambda x: {
                "out": x.new_zeros(3, 3).scatter_add(0, torch.arange(3).expand(3, 3), x.t() @ x)
            },
            "an index that is one number for each row",
        ),
    ],
)
def test_indices_that_no_converter_knows_are_refused(
    function: Callable[..., Found], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        translate(capture(Function(function), {"x": torch.ones(5, 3)}, {"x": ("rows", 3)}, ["out"]))


def test_what_a_model_asserts_of_values_is_an_error() -> None:
    captured = capture_function(
        lambda kinds: {"out": torch.nn.functional.one_hot(kinds, 3)},
        {"kinds": ("rows",)},
        {"kinds": 3},
    )
    run = load(build_program(captured))
    assert run(torch.tensor([2]))[0].tolist() == [[0, 0, 1]]
    for bad, word in ((3, "smaller"), (-1, "non-negative")):
        with pytest.raises(RuntimeError, match=word):
            run(torch.tensor([0, bad]))


def test_an_exponent_that_is_a_parameter_may_be_exchanged() -> None:
    class Power(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.exponent = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, x: torch.Tensor) -> Found:
            return {"out": x**self.exponent}

    program = build_program(capture(Power(), {"x": torch.ones(5)}, {"x": ("rows",)}, ["out"]))
    program.parameters["exponent"].fill_(3.0)
    torch.testing.assert_close(load(program)(torch.tensor([2.0]))[0], torch.tensor([8.0]))


def test_sums_of_many_numbers_in_float32_are_exact() -> None:
    def function(x: torch.Tensor, y: torch.Tensor) -> Found:
        return {"fixed": y.sum(1), "norm": torch.linalg.vector_norm(x), "product": x.t() @ x}

    x, y = torch.full((200_000, 2), 0.1), torch.full((3, 100_000), 0.1)
    exact = {name: value.float() for name, value in function(x.double(), y.double()).items()}
    program = build_program(
        capture_function(function, {"x": ("rows", 2), "y": (3, 100_000)}, dtype=torch.float32)
    )
    for found, wanted in zip(load(program)(x, y), exact.values(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=3e-7, atol=0)
