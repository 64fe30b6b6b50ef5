"""Modifiers of classes of nequip, without nequip; the rest is tested in the folder `nequip`."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from tvm_equi.models.nequip_modifier import Place, add_modifier, replace, when_imported

PLACE = Place("no_such_package.layers", "Layer")


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
    assert not Place("other.layers", "Layer").has(Layer())


def test_replace() -> None:
    model = torch.nn.Sequential(Layer(), torch.nn.Sequential(Layer(), Other()))
    assert replace(model, PLACE, lambda old: torch.nn.Identity()) is model
    kinds = [type(module).__name__ for module in model.modules()]
    assert kinds == ["Sequential", "Identity", "Sequential", "Identity", "Other"]


def test_nothing_is_done_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    add_modifier(PLACE, "enable", lambda cls, model: model)
    assert not hasattr(Layer, "enable")


def test_calls_back_when_a_module_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_module_of_a_test.py").write_text("VALUE = 3\n")
    (tmp_path / "another_module_of_a_test.py").write_text("OTHER = 4\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders, seen = list(sys.meta_path), []
    for _ in range(2):
        when_imported("some_module_of_a_test", lambda module: seen.append(module.VALUE))
    assert not seen
    module = importlib.import_module("some_module_of_a_test")
    assert seen == [3, 3]
    assert sys.meta_path == finders
    assert module.__spec__.loader is module.__loader__
    assert not type(module.__loader__).__module__.startswith("tvm_equi")
    importlib.import_module("another_module_of_a_test")  # perhaps by the same loader
    assert seen == [3, 3]
    when_imported("some_module_of_a_test", lambda module: seen.append(module))
    assert seen[2] is module
