"""Small models of mace-torch and structures; without mace-torch those tests are skipped."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

# e3nn 0.4.4 loads its constants with pickle, which torch refuses otherwise; mace-torch sets it too.
os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")

RESIDUAL = "RealAgnosticResidualInteractionBlock"

SLOW = (
    "test_bidirectional_conversion[cpu-True",
    "test_bidirectional_conversion[cpu-False-False-False-default_dtype0-hidden_irreps0",
    "test_bidirectional_conversion[cpu-False-False-False-default_dtype0-hidden_irreps2",
    "test_model_is_as_before[RealAgnosticAttResidualInteractionBlock",
    "test_model_is_as_before[RealAgnosticResidualNonLinearInteractionBlock",
    "test_the_two_compute_the_same[training step]",
)
"""Starts of the names of tests that compile many kernels, each of which has a quicker sister."""


@pytest.hookimpl(tryfirst=True)  # before cases are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the slow ones."""
    for item in items:
        if item.name.startswith(SLOW):
            item.add_marker("slow")


CUTOFF = 3.5


@pytest.fixture(autouse=True)
def in_float64() -> Any:
    """Everything in float64, and as before afterwards."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def make_model() -> Callable[..., torch.nn.Module]:
    """A function that makes a ScaleShiftMACE of few channels, always with the same weights."""
    pytest.importorskip("mace")
    from e3nn import o3
    from mace import modules

    def make(
        hidden: str = "4x0e + 4x1o",
        first: str = RESIDUAL,
        other: str = RESIDUAL,
        numbers: tuple[int, ...] = (1, 6, 8),
        **options: Any,
    ) -> torch.nn.Module:
        torch.manual_seed(0)
        settings: dict[str, Any] = {
            "r_max": CUTOFF,
            "num_bessel": 5,
            "num_polynomial_cutoff": 6,
            "max_ell": 2,
            "interaction_cls": modules.interaction_classes[other],
            "interaction_cls_first": modules.interaction_classes[first],
            "num_interactions": 2,
            "num_elements": len(numbers),
            "hidden_irreps": o3.Irreps(hidden),
            "MLP_irreps": o3.Irreps("4x0e"),
            "gate": torch.nn.functional.silu,
            "atomic_energies": np.zeros(len(numbers)),
            "avg_num_neighbors": 8.0,
            "atomic_numbers": list(numbers),
            "correlation": 3,
            "radial_MLP": [8, 8],
            "radial_type": "bessel",
            "atomic_inter_scale": 1.3,
            "atomic_inter_shift": 0.1,
        }
        return modules.ScaleShiftMACE(**(settings | options))

    return make


@pytest.fixture
def crystal() -> Any:
    """A small crystal of three elements, shaken; ASE's atoms."""
    from ase.build import bulk

    atoms = bulk("C", "diamond", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.numbers[:] = np.random.default_rng(2).choice([1, 6, 8], len(atoms))
    return atoms


@pytest.fixture
def batch_of() -> Callable[..., dict[str, Any]]:
    """A function from ASE's atoms to a model's inputs."""
    pytest.importorskip("mace")
    from mace import data, tools
    from mace.tools import torch_geometric

    def make(atoms: Any, numbers: tuple[int, ...] = (1, 6, 8)) -> dict[str, Any]:
        table = tools.AtomicNumberTable(list(numbers))
        config = data.config_from_atoms(atoms)
        one = data.AtomicData.from_config(config, z_table=table, cutoff=CUTOFF)
        loader = torch_geometric.dataloader.DataLoader([one], batch_size=1)
        found: dict[str, Any] = next(iter(loader)).to_dict()
        return found

    return make
