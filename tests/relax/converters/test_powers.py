import torch

from tests.programs import check_function


def powers(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    positive = x.abs() + 0.1
    found = {f"{p}": x**p for p in (1, 2, 3, 6, 7, -1, -2, 0)}
    found |= {f"{p}": positive**p for p in (0.5, -0.5, 1.5, 2.0, -3.0)}
    found["tensor"] = positive**y
    found["base"] = 2.0**x
    found["constant"] = x ** torch.tensor(5.0, dtype=torch.float64)
    return found


def test_values_are_those_of_torch() -> None:
    check_function(powers, {"x": ("rows", 6), "y": ("rows", 6)})
