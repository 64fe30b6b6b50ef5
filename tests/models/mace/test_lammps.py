"""Accelerated models under LAMMPS itself, which needs ML-IAP, Python and Kokkos."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.in_lammps import NEEDED, assert_conserved, run_lammps, steps, write_data
from tvm_equi.models.mace.walk import accelerate_mace

pytestmark = [pytest.mark.slow, NEEDED]

TOLERANCE = 1e-9
FILE = "mace-mliap_lammps.pt"
KOKKOS = ["-k", "on", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"]
SYMBOLS = ["H", "C", "O"]
PAIR = (
    # Twice the width of features: LAMMPS makes room for no exchange of a pair style on hosts.
    "fix buffers all property/atom d2_buffers 32 ghost yes",
    f"pair_style mliap unified {FILE} 0",
    f"pair_coeff * * {' '.join(SYMBOLS)}",
)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_run(
    num_processes: int,
    make_model: Callable[..., torch.nn.Module],
    crystal: Any,
    batch_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first step's numbers are those of mace-torch's periodic model, and the energy stays."""
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    atoms = crystal.repeat((2, 2, 2))
    atoms.rattle(0.05, seed=2)
    write_data(tmp_path / "structure.data", atoms, SYMBOLS)
    wanted = make_model()(batch_of(atoms), compute_virials=True)
    monkeypatch.setenv("MACE_ALLOW_CPU", "true")  # kept in the object
    torch.save(LAMMPS_MLIAP_MACE(accelerate_mace(make_model(lammps_mliap=True))), tmp_path / FILE)
    done = run_lammps(
        tmp_path,
        PAIR,
        newton="on",
        options=KOKKOS,
        num_processes=num_processes,
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        PYTHONPATH=os.pathsep.join(path for path in sys.path if path),
    )
    found = steps(tmp_path, done)
    close = {"atol": TOLERANCE, "rtol": 0.0}
    for value, key in (
        (found.potential[:1], "energy"),
        (found.forces, "forces"),
        (found.virial[:1], "virials"),
    ):
        torch.testing.assert_close(value, wanted[key].detach(), **close)
    assert_conserved(found)
