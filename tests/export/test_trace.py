"""A traced module: the model's names, the same values. Refusals are in `test_capture.py`."""

import torch

from tvm_equi.export.trace import trace


class Model(torch.nn.Module):
    """Has nested and shared parameters, a buffer, and one that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.ModuleDict({"0": torch.nn.Linear(3, 3, bias=False)})
        self.shared = self.inner["0"]
        self.unread = torch.nn.Parameter(torch.zeros(7))
        self.register_buffer("offset", torch.arange(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared(self.inner["0"](x)) + self.offset


def test_names_values_and_state() -> None:
    model = Model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    traced = trace(model, model, {"x": torch.rand(4, 3)}, {"x": ("rows", 3)}, ("y",))
    assert sorted(dict(traced.named_parameters())) == ["inner.0.weight"]
    assert sorted(dict(traced.named_buffers())) == ["offset"]
    assert [node.name for node in traced.graph.find_nodes(op="placeholder")] == ["x"]
    x = torch.rand(9, 3)
    (found,) = traced(x)
    torch.testing.assert_close(found, model(x).detach())
    assert not found.requires_grad
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
