import torch

from tests.programs import check_function


def made(x: torch.Tensor) -> dict[str, torch.Tensor]:
    rows = x.shape[0]
    return {
        "zeros": x.new_zeros(rows, 2),
        "ones": torch.ones_like(x),
        "full": x.new_full((rows, 1), 2.5),
        "arange": torch.arange(rows),
        "steps": torch.arange(0.5, 4.0, 0.5, dtype=x.dtype) * x[:, :1],
        "number": torch.where(x > 0, x, torch.tensor(3.0, dtype=x.dtype)),
    }


def test_values_are_those_of_torch() -> None:
    check_function(made, {"x": ("rows", 3)})
