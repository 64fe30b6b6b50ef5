import pytest
import torch

from tests.programs import capture_function, check_function
from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.translate import translate

SIZES = {"x": ("rows", 6), "y": ("rows", 2, 3), "z": ("edges", 6)}


def moves(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> dict[str, torch.Tensor]:
    rows = x.shape[0]
    return {
        "view": x.view(rows, 3, 2),
        "flat": y.reshape(rows, 6),
        "all": z.reshape(-1).sum(),
        "permute": y.permute(2, 0, 1),
        "transpose": y.transpose(1, 2),
        "t": x.t(),
        "unsqueeze": x.unsqueeze(1).squeeze(1),
        "expand": y[:, :, :1].expand(rows, 2, 4),
        "new_axis": x[:1].expand(rows, 6),
        "repeat": x.repeat(2, 3).sum(0),
        "interleave": x.repeat_interleave(2, dim=1),
        "whole": x[: x.shape[0]],
        "cat": torch.cat([x, y.reshape(-1, 6), 2 * x[:, 1:3]], dim=-1),
        "cat_rows": torch.cat([x, z, x]).cos().sum(0),
        "stack": torch.stack([x, x + 1], dim=1),
        "slice": x[:, 1:5:2],
        "last": x[:, -2:],
        "select": y[:, 1],
        "first": x[0],
        "narrow": x.narrow(1, 2, 3),
        "flip": x.flip(1),
        "pad": torch.nn.functional.pad(x, (1, 2), value=0.5),
        "empty": x[:, 3:3],
        "clone": x.clone(),
    }


def parts(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> dict[str, torch.Tensor]:
    found = dict(enumerate(x.split([1, 3, 2], dim=1)))
    found |= {n + 3: value for n, value in enumerate(z.split(2, dim=-1))}
    found |= {n + 6: value for n, value in enumerate(y.unbind(1))}
    found |= {n + 8: value for n, value in enumerate(x.chunk(2, dim=1))}
    return {str(number): value * 1 for number, value in found.items()}


def gradients(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> dict[str, torch.Tensor]:
    given = x.detach().requires_grad_()
    values = [
        (given[:, 1:4] * y[:, 0]).sum(),
        (given[:, 2] * x[:, 0]).sum(),
        (torch.nn.functional.pad(given, (2, 1)) ** 2).sum(),
        (torch.stack(given.split(2, dim=1)) ** 2).sum(),
    ]
    return {
        str(number): torch.autograd.grad(value, given)[0] for number, value in enumerate(values)
    }


@pytest.mark.parametrize("function", [moves, parts, gradients])
def test_values_are_those_of_torch(function: object) -> None:
    check_function(function, SIZES)  # type: ignore[arg-type]


def test_copies_by_a_size_are_refused() -> None:
    captured = capture_function(lambda x: {"out": x.repeat(x.shape[0]).sum()}, {"x": ("rows",)})
    with pytest.raises(UnsupportedError, match="expected numbers of copies"):
        translate(captured)
