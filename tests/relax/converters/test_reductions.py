import pytest
import torch

from tests.programs import CASES, capture_function, check_function, load
from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.program import build_program
from tvm_equi.relax.translate import translate


def reductions(x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "all": x.sum(),
        "rows": x.sum(0),
        "columns": x.sum(-1, keepdim=True),
        "both": x.sum((0, 2)),
        "truths": (x > 0).sum(1),
        "mean": x.mean((1, 2)),
        "amax": x.amax(2),
        "amin": x.amin((1, 2), keepdim=True),
        "norm": torch.linalg.vector_norm(x, dim=-1),
        "length": x.norm(dim=1, keepdim=True),
    }


def test_values_are_those_of_torch() -> None:
    check_function(reductions, {"x": ("rows", 4, 3)}, cases=(*CASES, {"rows": 0, "edges": 1}))


def test_a_sum_of_many_rows_in_float32_is_exact() -> None:
    sizes = {"x": ("rows", 2)}
    captured = capture_function(lambda x: {"sum": x.sum(0)}, sizes, dtype=torch.float32)
    x = torch.full((200_000, 2), 0.1)
    (found,) = load(build_program(captured))(x)
    torch.testing.assert_close(found, x.double().sum(0).float(), rtol=1e-7, atol=0)


def test_other_norms_are_refused() -> None:
    captured = capture_function(
        lambda x: {"out": torch.linalg.vector_norm(x, 3, dim=1)}, {"x": ("rows", 3)}
    )
    with pytest.raises(UnsupportedError, match="expected the norm of order 2, got 3"):
        translate(captured)
