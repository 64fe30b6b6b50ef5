"""nequip's own test of `nequip-compile`: a model is trained, packaged, compiled ahead of time with
the modifier, and called by ASE, by nequip's programs in processes of their own. Takes minutes.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from nequip.utils.unittests.model_tests_ase_integration import ASEIntegrationMixin

from tests.models.nequip.vendor.nequip_model import minimal_config2
from tvm_equi.models.nequip import MODIFIER

pytestmark = pytest.mark.slow


class TestCompile(ASEIntegrationMixin):
    @pytest.fixture
    def strict_locality(self) -> bool:
        return False

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls) -> dict[str, Any]:
        return {**copy.deepcopy(minimal_config2), "num_layers": 2, "l_max": 1}

    @pytest.fixture(scope="class", params=["minimal_toy_emt.yaml"])
    @classmethod
    def conffile(cls, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def ase_compile_modifiers(cls) -> Callable[[str, str, str], list[str]]:
        return lambda mode, device, model_dtype: [MODIFIER]
