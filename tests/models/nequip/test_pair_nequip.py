"""Models of nequip and allegro for LAMMPS: compiled with modifiers, run in C++ as pair styles do.

`nequip-compile` itself runs, on a model that was built here. Takes a minute.
"""

import copy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.scripts import compile as nequip_compile

from tests.deploy_runtimes.aoti import run, torch_ops
from tests.models.in_lammps import NEEDED, assert_conserved, run_lammps, steps, write_data
from tests.models.nequip.test_allegro_model import CONFIG as ALLEGRO
from tests.models.nequip.test_nequip_model import build
from tests.models.nequip.vendor.nequip_model import minimal_config2
from tvm_equi.export.pt2 import add_kernels, package_plans
from tvm_equi.models.allegro import MODIFIER as ALLEGRO_MODIFIER
from tvm_equi.models.nequip import MODIFIER

pytestmark = pytest.mark.slow

CONFIG = {**minimal_config2, "num_layers": 2, "l_max": 1, "model_dtype": "float64"}
STYLES: dict[str, tuple[dict[str, Any], str, int]] = {
    "nequip": (CONFIG, MODIFIER, 4),
    "allegro": ({**ALLEGRO, "l_max": 1, "model_dtype": "float64"}, ALLEGRO_MODIFIER, 4),
}
"""Model, modifier, and plans: those of two layers, forward and backward."""

SYMBOLS = ["H", "C", "O"]
HARNESS = Path(__file__).parent / "pair_nequip"
TOLERANCE = 1e-9


def write_structure(path: Path) -> Any:
    """A shaken, skewed crystal of three elements; ASE's atoms."""
    from ase.build import bulk

    atoms = bulk("C", "diamond", a=3.567, cubic=True)
    skew = np.array([[0, 0, 0], [0.4, 0, 0], [0.2, -0.3, 0]])
    atoms.set_cell(atoms.cell.array + skew, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    atoms.numbers[:] = np.random.default_rng(2).choice([1, 6, 8], len(atoms))
    rows = [" ".join(repr(float(x)) for x in row) for row in atoms.cell.array]
    for atom in atoms:
        rows.append(f"{atom.symbol} {' '.join(repr(float(x)) for x in atom.position)}")
    path.write_text("\n".join([str(len(atoms)), *rows]) + "\n")
    return atoms


def data_of(atoms: Any) -> AtomicDataDict.Type:
    data = ChemicalSpeciesToAtomTypeMapper(SYMBOLS)(from_ase(atoms))
    found: AtomicDataDict.Type = NeighborListTransform(r_max=CONFIG["r_max"])(data)
    return found


def numbers(printed: str, name: str) -> torch.Tensor:
    lines = [line.split() for line in printed.splitlines()]
    rows = [[float(x) for x in line[1:]] for line in lines if line[0] == name]
    return torch.tensor(rows, dtype=torch.float64)


def compiled(
    style: str, atoms: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, AtomicDataDict.Type]:
    """The package of an accelerated model with its kernels, and results of the plain one."""
    config, modifier, num_plans = STYLES[style]
    data = data_of(atoms)
    wanted = build(config)(data.copy())
    package = folder / "model.nequip.pt2"
    loaded = (build(config), copy.copy(data))
    monkeypatch.setattr(nequip_compile, "load_saved_model", lambda *args, **kwargs: loaded)
    options = ["--mode", "aotinductor", "--device", "cpu", "--target", f"pair_{style}"]
    nequip_compile.main(["given above", str(package), *options, "--modifiers", modifier])
    assert len(package_plans(package)) == num_plans
    add_kernels(package)  # in the dtype that its metadata names
    return package, wanted


@pytest.mark.parametrize("style", ["nequip", "allegro"])
def test_pair_style(
    style: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    atoms = write_structure(tmp_path / "structure.txt")
    package, wanted = compiled(style, atoms, tmp_path, monkeypatch)

    harness = tmp_path / "harness"
    prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    for command in (
        ["cmake", "-S", str(HARNESS), "-B", str(harness), prefix],
        ["cmake", "--build", str(harness)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    command = [str(harness / "pair"), str(package), str(tmp_path / "structure.txt"), "3"]
    without = run(command)
    assert without.returncode == 1
    assert "Could not find schema for tvm_equi::" in without.stderr

    library = torch_ops(tmp_path_factory) / "lib" / "libtvm_equi_torch.so"
    done = run(command, LD_PRELOAD=str(library))
    assert done.returncode == 0, done.stderr
    close = {"atol": TOLERANCE, "rtol": 0.0}
    total = wanted[AtomicDataDict.TOTAL_ENERGY_KEY].detach().double()
    found = numbers(done.stdout, "energy")
    torch.testing.assert_close(found, total, **close)
    for name, key in (("force", AtomicDataDict.FORCE_KEY), ("virial", AtomicDataDict.VIRIAL_KEY)):
        value = wanted[key].detach().reshape(-1, 3)
        assert value.abs().max() > 0.1
        torch.testing.assert_close(numbers(done.stdout, name), value, **close)


@NEEDED
@pytest.mark.parametrize(
    ("style", "num_processes"), [("nequip", 1), ("allegro", 1), ("allegro", 2)]
)
def test_in_lammps(
    style: str,
    num_processes: int,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LAMMPS itself: the first step's numbers are the plain model's, and the energy stays."""
    atoms = write_structure(tmp_path / "structure.txt")
    write_data(tmp_path / "structure.data", atoms, SYMBOLS)
    package, wanted = compiled(style, atoms, tmp_path, monkeypatch)
    library = torch_ops(tmp_path_factory) / "lib" / "libtvm_equi_torch.so"
    done = run_lammps(
        tmp_path,
        [f"pair_style {style}", f"pair_coeff * * {package.name} {' '.join(SYMBOLS)}"],
        newton={"nequip": "off", "allegro": "on"}[style],
        num_processes=num_processes,
        LD_PRELOAD=str(library),
    )
    found = steps(tmp_path, done)
    close = {"atol": TOLERANCE, "rtol": 0.0}
    for value, key in (
        (found.potential[:1], AtomicDataDict.TOTAL_ENERGY_KEY),
        (found.forces, AtomicDataDict.FORCE_KEY),
        (found.virial[0], AtomicDataDict.VIRIAL_KEY),
    ):
        torch.testing.assert_close(value, wanted[key].detach().reshape(value.shape), **close)
    assert_conserved(found)
