"""A LAMMPS of the user's, and what it says of a structure.

Tests with it run only if the variable TVM_EQUI_LMP names a program, which was built for their style
as docs/deploy_lammps.md says.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

LMP = "TVM_EQUI_LMP"
NEEDED = pytest.mark.skipif(not os.environ.get(LMP), reason=f"{LMP} names no LAMMPS")

BAR_ANGSTROM3 = 1.6021765e6
"""Of one electronvolt, as LAMMPS has it in its units "metal"."""

SCRIPT = """\
units metal
atom_style atomic
newton {newton}
read_data structure.data
mass * {mass}
{pair}
compute virial all pressure NULL virial
thermo_style custom step pe etotal vol c_virial[*]
thermo_modify format float %.17g
thermo 1
dump forces all custom {num_steps_or_1} forces.dump fx fy fz
dump_modify forces sort id format float %.17g
velocity all create {temperature} 12345 loop geom
fix motion all nve
timestep {timestep}
run {num_steps}
"""


@dataclass(frozen=True)
class Steps:
    """What LAMMPS printed of each step, in eV and angstrom."""

    potential: torch.Tensor  # [steps]
    total: torch.Tensor  # [steps]
    virial: torch.Tensor  # [steps, 3, 3], minus the derivative of the energy to strain
    forces: torch.Tensor  # [atoms, 3], of the first step


def write_data(path: Path, atoms: Any, symbols: Sequence[str]) -> None:
    """Writes ASE's atoms for LAMMPS; above the diagonal of their cell must be zeros."""
    assert not np.triu(atoms.cell.array, 1).any()
    (xx, _, _), (xy, yy, _), (xz, yz, zz) = atoms.cell.array.tolist()
    lines = ["structure", "", f"{len(atoms)} atoms", f"{len(symbols)} atom types"]
    lines += [f"0 {xx!r} xlo xhi", f"0 {yy!r} ylo yhi", f"0 {zz!r} zlo zhi"]
    lines += [f"{xy!r} {xz!r} {yz!r} xy xz yz", "", "Atoms # atomic", ""]
    for number, atom in enumerate(atoms, start=1):
        x, y, z = atom.position.tolist()
        lines.append(f"{number} {1 + symbols.index(atom.symbol)} {x!r} {y!r} {z!r}")
    path.write_text("\n".join(lines) + "\n")


def run_lammps(
    folder: Path,
    pair: Sequence[str],
    *,
    newton: str,
    options: Sequence[str] = (),
    num_processes: int = 1,
    num_steps: int = 50,
    temperature: float = 300.0,
    timestep: float = 0.0002,
    mass: float = 12.0,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Runs LAMMPS on `structure.data` in the folder, at constant energy.

    Args:
        folder: Where it runs.
        pair: Commands of the pair style.
        newton: "on" or "off".
        options: What follows the program's name.
        num_processes: Above one, `mpirun` starts them.
        num_steps: Steps of the run.
        temperature: Of the first step, in kelvin.
        timestep: In picoseconds.
        mass: Of every atom.
        variables: Further ones of the environment.
    """
    settings: dict[str, Any] = {"newton": newton, "num_steps": num_steps, "timestep": timestep}
    settings |= {"pair": "\n".join(pair), "temperature": temperature, "mass": mass}
    script = SCRIPT.format(**settings, num_steps_or_1=max(num_steps, 1))
    (folder / "in.lammps").write_text(script)
    before = ["mpirun", "-n", str(num_processes)] if num_processes > 1 else []
    return subprocess.run(
        [*before, os.environ[LMP], *options, "-in", "in.lammps"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | variables,
        timeout=600,
    )


def steps(folder: Path, done: subprocess.CompletedProcess[str]) -> Steps:
    """What a run in the folder found; it must have ended well."""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    lines = [line.split() for line in done.stdout.splitlines()]
    (first,) = (k for k, line in enumerate(lines) if line[:2] == ["Step", "PotEng"])
    (last,) = (k for k, line in enumerate(lines) if line[:2] == ["Loop", "time"])
    table = torch.tensor(
        [[float(x) for x in line] for line in lines[first + 1 : last]], dtype=torch.float64
    )
    pressure = table[:, [4, 7, 8, 7, 5, 9, 8, 9, 6]]  # from xx, yy, zz, xy, xz, yz
    virial = (pressure * table[:, 3:4] / BAR_ANGSTROM3).reshape(-1, 3, 3)
    frame = (folder / "forces.dump").read_text().split("ITEM: ATOMS fx fy fz")[1]
    rows = [[float(x) for x in line.split()] for line in frame.split("ITEM")[0].splitlines()[1:]]
    return Steps(table[:, 1], table[:, 2], virial, torch.tensor(rows, dtype=torch.float64))


def assert_conserved(found: Steps) -> None:
    """The energy stays while some of it moves, which wrong forces would not bring about."""
    moved = float((found.potential - found.potential[0]).abs().max())
    assert moved > 1e-3
    assert float((found.total - found.total[0]).abs().max()) < 1e-3 * moved
