"""mace-torch's own test of accelerators, from its wheel, on this one."""

import importlib.util
from importlib.metadata import distribution
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("mace")


def own_tests() -> ModuleType:
    """The module of mace-torch's tests that has `BackendTestBase`; the wheel brings it."""
    path = distribution("mace-torch").locate_file("tests/test_cueq_oeq.py")
    spec = importlib.util.spec_from_file_location("mace_torch_test_cueq_oeq", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def to_ours(model: Any) -> Any:
    """As mace-torch's converters: a new model, and the old one unchanged."""
    from mace import modules
    from mace.tools.scripts_utils import extract_config_mace_model

    from tvm_equi.models.mace import accelerate_mace

    new = modules.ScaleShiftMACE(**extract_config_mace_model(model))
    new.load_state_dict(model.state_dict(), strict=True)
    return accelerate_mace(new)


def from_ours(model: Any) -> Any:
    """A model of mace-torch from what an accelerated one says of itself, and its state."""
    from mace import modules
    from mace.tools.scripts_utils import extract_config_mace_model

    new = modules.ScaleShiftMACE(**extract_config_mace_model(model))
    new.load_state_dict(model.state_dict(), strict=True)
    return new


class TestTvmEqui(own_tests().BackendTestBase):  # type: ignore[misc]
    """`test_bidirectional_conversion`: 4 interaction blocks, 3 irreps, with and without reduced
    Clebsch-Gordan tensors; energies, forces, stresses and gradients to 1e-8 and better."""

    @pytest.fixture
    def conversion_functions(self) -> tuple[Any, Any]:
        return to_ours, from_ours

    @pytest.fixture(params=["cpu"])
    def device(self, request: pytest.FixtureRequest) -> str:
        return request.param
