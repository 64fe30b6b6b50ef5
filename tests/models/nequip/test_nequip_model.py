"""nequip's own tests of models, of models with the modifier `enable_TVM`."""

import copy
from typing import Any

import pytest
import torch
from hydra.utils import get_method
from nequip.data import AtomicDataDict
from nequip.nn._tp_scatter_base import TensorProductScatter
from nequip.utils.unittests.model_tests_basic import EnergyModelTestsMixin
from nequip.utils.unittests.utils import compare_output_and_gradients

from tests.models.nequip.vendor.nequip_model import (
    minimal_config1,
    minimal_config3,
    minimal_config4,
)
from tests.nn.conv_reference import largest_error
from tvm_equi.models.nequip import MODIFIER, CompiledScatter

MODIFY = "nequip.model.modify"


def build(config: dict[str, Any]) -> torch.nn.Module:
    config = copy.deepcopy(config)
    return get_method(config.pop("_target_"))(**config)


def accelerated(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the modifier, as a user would write it."""
    return {"_target_": MODIFY, "modifiers": [{"modifier": MODIFIER}], "model": config}


class TestNequIPModel(EnergyModelTestsMixin):
    """What nequip tests of every model, of one with kernels; and that numbers are the same."""

    @pytest.fixture
    def strict_locality(self) -> bool:
        return False

    @pytest.fixture(scope="class")
    @classmethod
    def equivariance_tol(cls, model_dtype: str) -> float:
        return {"float32": 5e-5, "float64": 1e-7}[model_dtype]

    @pytest.fixture(scope="class", params=[minimal_config1, minimal_config3, minimal_config4])
    @classmethod
    def config(cls, request: pytest.FixtureRequest) -> dict[str, Any]:
        return copy.deepcopy(request.param)

    @staticmethod
    def make_model(model_config: dict[str, Any], device: str) -> torch.nn.Module:
        model = build(accelerated(model_config)).to(device)
        modules = list(model.modules())
        assert sum(isinstance(module, CompiledScatter) for module in modules) == 2
        assert not any(isinstance(module, TensorProductScatter) for module in modules)
        return model

    def test_unmodified(
        self, model: Any, model_test_data: AtomicDataDict.Type, model_dtype: str
    ) -> None:
        """Energies, forces, virials and gradients of parameters, and the state dict."""
        instance, config, _ = model
        reference = build(config)
        assert list(reference.state_dict()) == list(instance.state_dict())
        reference.load_state_dict(instance.state_dict())
        instance.zero_grad()
        if model_dtype == "float64":
            compare_output_and_gradients(reference, instance, model_test_data, 1e-10)
        else:  # element by element, sums that cancel would differ
            found, wanted = (results(part, model_test_data) for part in (instance, reference))
            assert largest_error(found, wanted) < 5e-5


def results(model: torch.nn.Module, data: AtomicDataDict.Type) -> list[torch.Tensor]:
    """Outputs, and gradients of a loss on energies and forces to parameters."""
    output = model.train()(data.copy())
    loss = output[AtomicDataDict.TOTAL_ENERGY_KEY].square().sum()
    loss = loss + output[AtomicDataDict.FORCE_KEY].square().sum()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    names = (AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY, AtomicDataDict.VIRIAL_KEY)
    return [output[name] for name in names] + list(torch.autograd.grad(loss, parameters))
