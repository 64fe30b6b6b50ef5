"""Modifiers of classes of nequip, without nequip; the rest is tested in the folder `nequip`."""

import pytest
import torch

from tvm_equi.models.nequip_modifier import Place, add_modifier, replace

PLACE = Place("no_such_package", "no_such_package.layers", "Layer")


class Layer(torch.nn.Module):
    pass


class Other(Layer):
    pass


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layer, "__module__", "<torch_package_0>.no_such_package.layers")


def test_a_place_has_the_class_itself() -> None:
    assert PLACE.has(Layer())
    assert not PLACE.has(Other())
    assert not PLACE.has(torch.nn.Linear(1, 1))
    assert not Place("other", "other.layers", "Layer").has(Layer())


def test_replace() -> None:
    model = torch.nn.Sequential(Layer(), torch.nn.Sequential(Layer(), Other()))
    assert replace(model, PLACE, lambda old: torch.nn.Identity()) is model
    kinds = [type(module).__name__ for module in model.modules()]
    assert kinds == ["Sequential", "Identity", "Sequential", "Identity", "Other"]


def test_nothing_is_done_without_the_package() -> None:
    add_modifier(PLACE, "enable", lambda cls, model: model)
    assert not hasattr(Layer, "enable")
