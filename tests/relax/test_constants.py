import torch

from tests.programs import capture_function
from tvm_equi.export.capture import capture
from tvm_equi.relax.constants import ANONYMOUS, find_constants


class Scaled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(12.0))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        matrix = self.weight.reshape(3, 4) * 0.5
        columns = torch.tensor([2, 0])
        large = self.weight[:1].expand(10_000).contiguous()
        return {"out": (x @ matrix)[:, columns] * large.sum()}


def test_what_follows_from_parameters_is_computed_once() -> None:
    captured = capture(Scaled(), {"x": torch.ones(5, 3)}, {"x": ("rows", 3)}, ["out"])
    program = captured.program.run_decompositions()
    found = dict(find_constants(program, folds=True).values.values())
    matrix = next(value for name, value in found.items() if value.shape == (3, 4))
    assert torch.equal(matrix, torch.arange(12.0).reshape(3, 4) * 0.5)
    names = [name for name, value in found.items() if value.is_floating_point()]
    assert all(name.startswith("weight") for name in names)
    assert [value.tolist() for value in found.values() if value.dtype == torch.int64] == [[2, 0]]


def test_or_parameters_stay_as_they_are() -> None:
    captured = capture(Scaled(), {"x": torch.ones(5, 3)}, {"x": ("rows", 3)}, ["out"])
    program = captured.program.run_decompositions()
    found = dict(find_constants(program, folds=False).values.values())
    kept = [name for name in found if not name.startswith(ANONYMOUS)]
    assert kept == ["weight"]


def test_what_depends_on_sizes_is_no_constant() -> None:
    captured = capture_function(lambda x: {"out": x.new_zeros(x.shape[0], 2)}, {"x": ("rows", 3)})
    assert not find_constants(captured.program.run_decompositions(), folds=True).values
