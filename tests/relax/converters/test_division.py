import torch

from tests.programs import check_function

SIZES = {"x": ("rows", 6), "y": ("rows", 1)}


def divided(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    whole, by = (10 * x).long(), (3 * y).long() * 2 + 1
    return {
        "floor": torch.div(x, y, rounding_mode="floor"),
        "trunc": torch.div(x, y, rounding_mode="trunc"),
        "remainder": torch.remainder(x, y),
        "of a number": torch.remainder(2.0, y),
        "fmod": torch.fmod(x, y),
        "whole floor": whole // by,
        "whole trunc": torch.div(whole, by, rounding_mode="trunc"),
        "whole remainder": whole % by,
        "whole fmod": torch.fmod(whole, by),
        "tenths": torch.floor_divide(x, 0.1),
    }


def test_values_are_those_of_torch() -> None:
    check_function(divided, SIZES)
