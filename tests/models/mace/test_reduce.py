"""Checkpoints over fewer weights: the same model, with another state dict."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.mace import accelerate_mace, reduce_contractions
from tvm_equi.models.mace.reduce import ReducedContraction

Make = Callable[..., torch.nn.Module]
Batch = Callable[..., dict[str, Any]]


def test_a_reduced_model_computes_the_same(make_model: Make, crystal: Any, batch_of: Batch) -> None:
    model, batch = make_model(use_reduced_cg=False), batch_of(crystal)
    wanted = model(dict(batch), compute_stress=True)
    full = sum(p.numel() for p in model.products.parameters())
    reduced = reduce_contractions(accelerate_mace(model))
    found = reduced(dict(batch), compute_stress=True)
    for name in ("energy", "forces", "stress"):
        assert torch.allclose(found[name], wanted[name], rtol=0, atol=1e-10), name
    parts = [m for m in reduced.modules() if isinstance(m, ReducedContraction)]
    assert len(parts) == 2
    assert sum(p.numel() for p in reduced.products.parameters()) < full / 1.3
    assert not any("U_matrix" in name for name in reduced.state_dict())
    reduced(dict(batch), training=True)["energy"].sum().backward()
    assert all(part.weight.grad is not None for part in parts)
    other = torch.rand(5, 3)  # attributes that are not one-hot
    x = torch.randn(5, parts[0].irreps_in.dim)
    by_element = [parts[0](x, row.expand(5, 3)) for row in torch.eye(3)]
    mixed = parts[0](x, other)
    summed = sum(other[:, k, None] * part for k, part in enumerate(by_element))
    assert torch.allclose(mixed, summed, rtol=0, atol=1e-11)


def test_what_is_not_accelerated_is_refused(make_model: Make) -> None:
    with pytest.raises(UnsupportedError, match="call accelerate_mace first"):
        reduce_contractions(make_model())
