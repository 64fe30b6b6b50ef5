import torch

from tests.programs import check_function


def comparisons(x: torch.Tensor, y: torch.Tensor, n: torch.Tensor) -> dict[str, torch.Tensor]:
    numbers = n.long()
    low, high = x < 0, y > 0.5
    return {
        "eq": numbers == 1,
        "ne": numbers != 0,
        "lt": x < n,
        "le": numbers <= 0.5,
        "gt": x > 0,
        "ge": x >= y,
        "and": low & high,
        "or": low | high,
        "xor": low ^ high,
        "not": ~low,
        "any": torch.logical_or(low, numbers),
        "none": torch.logical_not(numbers),
        "nan": torch.isnan(torch.sqrt(x)),
        "cast": x.to(torch.int32).to(torch.float64),
    }


def test_values_are_those_of_torch() -> None:
    check_function(comparisons, {"x": ("rows", 6), "y": ("rows", 6), "n": ("rows", 1)})


def test_not_a_number_stays_that() -> None:
    def function(x: torch.Tensor) -> dict[str, torch.Tensor]:
        odd = torch.sqrt(x)  # of negative numbers it is none
        return {
            "maximum": torch.maximum(odd, x),
            "minimum": torch.minimum(x, odd),
            "clamp": odd.clamp(-1, 1),
            "relu": torch.relu(odd),
            "exp": torch.exp(odd),
            "sigmoid": torch.sigmoid(odd),
        }

    check_function(function, {"x": ("rows", 3)})
