"""nequip's own tests of models, of Allegro models with the modifier `enable_TVMContracter`."""

import copy
from typing import Any

import pytest
import torch
from nequip.data import AtomicDataDict
from nequip.utils.unittests.model_tests_basic import EnergyModelTestsMixin

from tests.models.nequip.test_nequip_model import MODIFY, build, results
from tests.nn.conv_reference import largest_error
from tvm_equi.models.allegro import MODIFIER, CompiledContracter

CONFIG = {
    "_target_": "allegro.model.AllegroModel",
    "seed": 123,
    "type_names": ["H", "C", "O"],
    "r_max": 4.0,
    "avg_num_neighbors": 20.0,
    "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8},
    "radial_chemical_embed_dim": 16,
    "scalar_embed_mlp_hidden_layers_depth": 1,
    "scalar_embed_mlp_hidden_layers_width": 32,
    "num_layers": 2,
    "l_max": 2,
    "num_scalar_features": 32,
    "num_tensor_features": 4,
    "allegro_mlp_hidden_layers_depth": 2,
    "allegro_mlp_hidden_layers_width": 32,
    "readout_mlp_hidden_layers_depth": 1,
    "readout_mlp_hidden_layers_width": 8,
    "parity": True,
}
"""That of allegro's tests (tests/model/test_allegro.py, minimal_config0)."""


class TestAllegro(EnergyModelTestsMixin):
    @pytest.fixture
    def strict_locality(self) -> bool:
        return True

    @pytest.fixture(scope="class", params=[True, False])
    @classmethod
    def config(cls, request: pytest.FixtureRequest) -> dict[str, Any]:
        return {**copy.deepcopy(CONFIG), "tp_path_channel_coupling": request.param}

    @staticmethod
    def make_model(model_config: dict[str, Any], device: str) -> torch.nn.Module:
        modifiers = [{"modifier": MODIFIER}]
        model = build({"_target_": MODIFY, "modifiers": modifiers, "model": model_config})
        assert sum(isinstance(part, CompiledContracter) for part in model.modules()) == 2
        return model.to(device)

    def test_unmodified(
        self, model: Any, model_test_data: AtomicDataDict.Type, model_dtype: str
    ) -> None:
        """Energies, forces, virials and gradients of parameters, and the state dict."""
        instance, config, _ = model
        reference = build(config)
        assert list(reference.state_dict()) == list(instance.state_dict())
        reference.load_state_dict(instance.state_dict())
        found, wanted = (results(part, model_test_data) for part in (instance, reference))
        assert largest_error(found, wanted) < {"float32": 5e-5, "float64": 1e-10}[model_dtype]
