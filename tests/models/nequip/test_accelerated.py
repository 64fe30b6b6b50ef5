"""Whole models of nequip and allegro by `tvm_equi.accelerate`: convolutions and all the rest."""

import copy
from typing import Any

import pytest
from nequip.data import AtomicDataDict

from tests.models.nequip.test_allegro_model import CONFIG
from tests.models.nequip.test_nequip_model import build, results
from tests.models.nequip.vendor.nequip_model import minimal_config1
from tests.nn.conv_reference import largest_error
from tvm_equi import accelerate
from tvm_equi.models.allegro import CompiledContracter
from tvm_equi.models.nequip import CompiledScatter


@pytest.mark.parametrize(
    ("config", "kind"),
    [(minimal_config1, CompiledScatter), (CONFIG, CompiledContracter)],
    ids=["nequip", "allegro"],
)
def test_energies_forces_and_gradients(
    config: dict[str, Any], kind: type, atomic_batch: AtomicDataDict.Type
) -> None:
    model = build({**copy.deepcopy(config), "model_dtype": "float64"})
    names, parameters = list(model.state_dict()), list(map(id, model.parameters()))
    wanted = results(model, atomic_batch)
    found = accelerate(model, quiet=True)
    assert found is model
    assert sum(isinstance(module, kind) for module in model.modules()) == 2
    assert list(model.state_dict()) == names
    assert list(map(id, model.parameters())) == parameters
    assert largest_error(results(model, atomic_batch), wanted) < 1e-10
