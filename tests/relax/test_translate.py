import pytest
import torch

from tests.programs import capture_function, load
from tvm_equi.errors import UnsupportedError
from tvm_equi.export.capture import capture
from tvm_equi.relax.program import build_program
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


def test_outputs_have_memory_of_their_own() -> None:
    class Given(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4, 3).t())  # with strides of its own

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"x": x, "flat": x.reshape(-1, 2, 2), "w": self.weight, "sum": x.sum(0)}

    names = ["x", "flat", "w", "sum"]
    run = load(build_program(capture(Given(), {"x": torch.ones(5, 4)}, {"x": ("n", 4)}, names)))
    x = torch.ones(3, 4)
    for _ in range(2):
        found = run(x)
        for value, wanted in zip(found, (1, 1, 1, 3), strict=True):
            assert torch.equal(value, torch.full_like(value, wanted))
        for value in found:
            value.zero_()


def test_an_unknown_operator_is_named() -> None:
    captured = capture_function(
        lambda x: {"out": torch.special.bessel_j0(x)}, {"x": ("rows",)}, dtype=torch.float64
    )
    with pytest.raises(UnsupportedError, match=r"converter, got aten\.special_bessel_j0\.default"):
        translate(captured)
