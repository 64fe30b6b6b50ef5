"""The one line for users: saved models, checkpoints, optimizers, the calculator."""

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.mace import accelerate_mace

Make = Callable[..., torch.nn.Module]
Batch = Callable[..., dict[str, Any]]


def test_saved_models_before_and_after(
    make_model: Make, crystal: Any, batch_of: Batch, tmp_path: Path
) -> None:
    model, batch = make_model(), batch_of(crystal)
    wanted = model(dict(batch))["energy"]
    torch.save(model, tmp_path / "before.model")
    loaded = accelerate_mace(torch.load(tmp_path / "before.model", weights_only=False))
    assert torch.allclose(loaded(dict(batch))["energy"], wanted, rtol=0, atol=1e-11)
    torch.save(loaded, tmp_path / "after.model")
    again = torch.load(tmp_path / "after.model", weights_only=False)
    assert torch.allclose(again(dict(batch))["energy"], wanted, rtol=0, atol=1e-11)


def test_checkpoints_load_both_ways(make_model: Make, crystal: Any, batch_of: Batch) -> None:
    model = make_model()
    other = make_model()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    batch = batch_of(crystal)
    wanted = other(dict(batch))["energy"]
    fast = accelerate_mace(copy.deepcopy(model))
    buffer = io.BytesIO()
    torch.save(other.state_dict(), buffer)
    buffer.seek(0)
    fast.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
    assert torch.allclose(fast(dict(batch))["energy"], wanted, rtol=0, atol=1e-11)
    model.load_state_dict(fast.state_dict(), strict=True)
    assert torch.allclose(model(dict(batch))["energy"], wanted, rtol=0, atol=1e-11)


def test_an_optimizer_made_before_trains_the_model(
    make_model: Make, crystal: Any, batch_of: Batch
) -> None:
    slow, batch = make_model(), batch_of(crystal)
    fast = copy.deepcopy(slow)
    losses: dict[str, list[float]] = {}
    for name, model in (("slow", slow), ("fast", fast)):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, amsgrad=True)
        if name == "fast":
            before = [id(parameter) for parameter in model.parameters()]
            model = accelerate_mace(model)
            assert [id(parameter) for parameter in model.parameters()] == before
        for _ in range(4):
            optimizer.zero_grad()
            out = model(dict(batch), training=True)
            loss = (out["energy"] - 9).square().sum() + out["forces"].square().mean()
            loss.backward()
            optimizer.step()
            losses.setdefault(name, []).append(float(loss.detach()))
    assert losses["slow"][-1] < losses["slow"][0]
    assert np.allclose(losses["fast"], losses["slow"], rtol=1e-9, atol=0)


def test_calculator(make_model: Make, crystal: Any) -> None:
    from ase.build import molecule
    from mace.calculators import MACECalculator

    model = make_model()
    ethanol = molecule("CH3CH2OH")
    ethanol.rattle(0.05, seed=3)
    found: list[list[Any]] = []
    for one in (copy.deepcopy(model), accelerate_mace(model)):
        calculator = MACECalculator(models=[one], device="cpu", default_dtype="float64")
        crystal.calc = ethanol.calc = calculator
        found.append(
            [
                ethanol.get_potential_energy(),
                ethanol.get_forces(),
                calculator.get_hessian(ethanol),
                crystal.get_potential_energy(),
                crystal.get_forces(),
                crystal.get_stress(),
                calculator.get_descriptors(crystal),
            ]
        )
    for wanted, got in zip(*found, strict=True):
        assert np.allclose(got, wanted, rtol=0, atol=1e-10)


def test_hessian_needs_no_loop(
    make_model: Make, crystal: Any, batch_of: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mace.modules import utils

    model, batch = make_model(), batch_of(crystal[:4])
    wanted = model(dict(batch), compute_hessian=True)["hessian"]

    def loop(*_: Any) -> None:
        raise AssertionError("torch.vmap failed, and mace-torch went on in a loop")

    monkeypatch.setattr(utils, "compute_hessians_loop", loop)
    got = accelerate_mace(model)(dict(batch), compute_hessian=True)["hessian"]
    assert torch.allclose(got, wanted, rtol=0, atol=1e-10)
    flat = got.reshape(12, 12)
    assert torch.allclose(flat, flat.T, rtol=0, atol=1e-12)


def test_float32_follows_the_model(make_model: Make, crystal: Any, batch_of: Batch) -> None:
    model = make_model()
    batch = batch_of(crystal)
    wanted = model(dict(batch))["energy"]
    fast = accelerate_mace(model).float()
    single = {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}
    torch.set_default_dtype(torch.float32)
    got = fast(single)["energy"]
    assert got.dtype == torch.float32
    assert torch.allclose(got.double(), wanted, rtol=1e-5, atol=1e-5)


def test_models_of_others_are_refused() -> None:
    with pytest.raises(
        UnsupportedError,
        match="accelerate_mace: model: expected interaction blocks of mace-torch, got Linear",
    ):
        accelerate_mace(torch.nn.Linear(2, 2))


def test_a_model_without_a_block_that_can_be_swapped_says_why(make_model: Make) -> None:
    model = accelerate_mace(make_model())
    with pytest.raises(UnsupportedError, match="has another accelerator: Convolution"):
        accelerate_mace(model)
