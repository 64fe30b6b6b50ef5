"""Operations: what a module becomes, and how long it lives."""

import gc

import pytest
import torch
from e3nn import nn, o3

from tvm_equi.dynamo.operations import Blocks, call_operation, decide, harmonics, operation
from tvm_equi.errors import UnsupportedError


def test_a_module_has_one_operation_without_weights() -> None:
    layer = o3.Linear("2x0e", "3x0e", biases=True)
    found = decide(layer)
    assert decide(layer) is found
    assert (found.kind, found.weights, found.reason) == ("linear", ("weight", "bias"), "")
    made = operation(found.key)
    assert not list(made.parameters())
    assert not list(made.buffers())
    x = torch.randn(4, 2)
    torch.testing.assert_close(
        call_operation(found.key, x, layer.weight, layer.bias), layer(x), rtol=1e-5, atol=1e-6
    )


def test_weights_from_outside_have_no_name() -> None:
    product = o3.TensorProduct(
        "2x0e", "1x0e", "2x0e", [(0, 0, 0, "uvu", True)], shared_weights=False
    )
    assert decide(product).weights == ()


def test_an_operation_goes_with_its_module() -> None:
    layer = o3.Linear("2x0e", "3x0e")
    key = decide(layer).key
    del layer
    gc.collect()
    with pytest.raises(UnsupportedError, match=rf"operation {key}: expected its e3nn module to be"):
        call_operation(key, torch.randn(1, 2))


def test_reasons() -> None:
    class Own(o3.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    assert decide(Own("2x0e", "2x0e")).reason == "Own defines a forward of its own"
    bare = o3.SphericalHarmonics.__new__(o3.SphericalHarmonics)
    torch.nn.Module.__init__(bare)
    assert "constructed inside the compiled function" in decide(bare).reason
    assert decide(nn.ExtractIr("2x0e + 1x1o", "1o")).kind == ""


def test_harmonics_are_one_operation() -> None:
    found = harmonics([0, 1], True, "norm")
    assert harmonics([0, 1], True, "norm") is found
    assert harmonics("0e + 1o", True, "norm").kind == "harmonics"
    assert "expected degrees up to 12, got 13" in harmonics(13, True, "norm").reason


def test_blocks() -> None:
    extract = nn.Extract("2x0e + 1x1o + 1x0e", ["1x1o + 1x0e", "2x0e", ""], [(1, 2), (0,), ()])
    x = torch.randn(3, 6)
    ours, theirs = Blocks(extract)(x), extract(x)
    assert [part.shape for part in ours] == [part.shape for part in theirs]
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))
