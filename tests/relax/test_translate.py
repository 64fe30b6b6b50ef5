import pytest
import torch

from tests.programs import capture_function
from tvm_equi.errors import UnsupportedError
from tvm_equi.export.capture import capture
from tvm_equi.relax.translate import translate


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4, 2))
        self.register_buffer("columns", torch.tensor([1, 0, 1]))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": (x @ (2 * self.weight))[:, self.columns], "sum": y.sum()}


def test_parameters_come_first_and_outputs_are_a_tuple() -> None:
    sizes = {"x": ("rows", 4), "y": ("others",)}
    captured = capture(Model(), {"x": torch.ones(3, 4), "y": torch.ones(5)}, sizes, ["out", "sum"])
    found = translate(captured)
    main = found.module["main"]
    assert [parameter.name for parameter in main.params][1:] == ["x", "y"]
    ((name, value),) = found.parameters.items()
    assert name.startswith("weight/")
    assert torch.equal(value, torch.full((4, 2), 2.0))
    kinds = main.ret_ty.fields
    assert [len(kind.shape.values) for kind in kinds] == [2, 0]
    assert kinds[0].shape.values[0].same_as(main.params[1].ty.shape.values[0])


def test_an_output_that_is_an_input_is_one_all_the_same() -> None:
    captured = capture_function(lambda x: {"out": x}, {"x": ("rows", 2)})
    assert "R.Tuple" in translate(captured).module.script()


def test_an_unknown_operator_is_named() -> None:
    captured = capture_function(
        lambda x: {"out": torch.special.bessel_j0(x)}, {"x": ("rows",)}, dtype=torch.float64
    )
    with pytest.raises(UnsupportedError, match=r"converter, got aten\.special_bessel_j0\.default"):
        translate(captured)
