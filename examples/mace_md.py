"""Relaxes a molecule and runs molecular dynamics with a MACE model, as it is and accelerated.

Run as `python -m examples.mace_md`, where mace-torch is installed; `--help` lists the options. It
needs no network: a small model is first trained, accelerated, on forces of ASE's EMT potential for
shaken ethanol. Then both models relax the molecule and run the same dynamics at constant energy,
and the drift of the total energy is printed side by side: what is left of it is the integrator's.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import dataclass
from typing import Any

import mace.calculators  # first: it lets torch load the constants of e3nn 0.4.4
import numpy as np
import torch
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric

from tvm_equi.models.mace import accelerate_mace

NUMBERS = (1, 6, 8)
CUTOFF = 4.0
TEMPERATURE = 300.0
"""Kelvin."""


@dataclass(frozen=True)
class Drift:
    """What dynamics did to the total energy, in eV per atom.

    Args:
        largest: difference from the start.
        slope: of a line through it, per picosecond.
        seconds: that the dynamics took.
        final: positions at the end, [atoms, 3].
    """

    largest: float
    slope: float
    seconds: float
    final: np.ndarray


def small_model() -> torch.nn.Module:
    """A MACE model of 16 channels with the repulsion of nuclei, always the same."""
    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=8,
        num_polynomial_cutoff=6,
        max_ell=2,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(NUMBERS),
        hidden_irreps=o3.Irreps("16x0e + 16x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(NUMBERS)),
        avg_num_neighbors=7.0,
        atomic_numbers=list(NUMBERS),
        correlation=3,
        pair_repulsion=True,
        radial_MLP=[32, 32],
        radial_type="bessel",
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def shaken(count: int) -> list[Any]:
    """Structures of ethanol with ASE's EMT as their calculator.

    Args:
        count: of structures.
    """
    found = []
    for seed in range(count):
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.08, seed=seed)
        atoms.calc = EMT()
        found.append(atoms)
    return found


def train(model: torch.nn.Module, structures: list[Any], steps: int) -> list[float]:
    """Fits a model's forces; the loss of each step, in (eV / angstrom)^2.

    Args:
        model: trained in place.
        structures: with a calculator, all in one batch.
        steps: of Adam.
    """
    table = tools.AtomicNumberTable(list(NUMBERS))
    configs = [data.config_from_atoms(atoms) for atoms in structures]
    batch = next(
        iter(
            torch_geometric.dataloader.DataLoader(
                [data.AtomicData.from_config(c, z_table=table, cutoff=CUTOFF) for c in configs],
                batch_size=len(configs),
            )
        )
    ).to_dict()
    wanted = torch.tensor(np.concatenate([atoms.get_forces() for atoms in structures]))
    wanted = wanted.to(torch.get_default_dtype())
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(dict(batch), training=True)["forces"] - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def relax(atoms: Any, calculator: Any, force: float) -> int:
    """Relaxes atoms in place; the number of steps.

    Args:
        atoms: ASE's.
        calculator: ASE's.
        force: in eV / angstrom, below which the largest must be.
    """
    atoms.calc = calculator
    optimizer = BFGS(atoms, logfile=None)
    optimizer.run(fmax=force, steps=200)
    return int(optimizer.nsteps)


def dynamics(start: Any, calculator: Any, steps: int, femtoseconds: float) -> Drift:
    """Dynamics at constant energy from a structure at rest, always with the same velocities.

    Args:
        start: relaxed; it is left as it is.
        calculator: ASE's.
        steps: of velocity Verlet.
        femtoseconds: of each.
    """
    atoms = start.copy()
    atoms.calc = calculator
    # Half of the energy goes to the potential.
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * TEMPERATURE, rng=np.random.default_rng(1))
    Stationary(atoms)
    ZeroRotation(atoms)
    energies = [atoms.get_total_energy()]
    verlet = VelocityVerlet(atoms, timestep=femtoseconds * units.fs)
    begin = time.perf_counter()
    for _ in range(steps):
        verlet.run(1)
        energies.append(atoms.get_total_energy())
    seconds = time.perf_counter() - begin
    energy = np.array(energies) / len(atoms)
    picoseconds = np.arange(len(energy)) * femtoseconds / 1000
    slope = float(np.polyfit(picoseconds, energy, 1)[0])
    return Drift(float(np.abs(energy - energy[0]).max()), slope, seconds, atoms.get_positions())


def main(arguments: list[str] | None = None) -> dict[str, Drift]:
    """Trains, relaxes and runs dynamics; the drifts by name.

    Args:
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=400, help="of dynamics")
    parser.add_argument("--femtoseconds", type=float, default=0.5, help="of each step")
    parser.add_argument("--train-steps", type=int, default=150)
    parser.add_argument("--structures", type=int, default=16, help="to train on")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--threads", type=int, default=1, help="a molecule needs no more")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.set_default_dtype(getattr(torch, given.dtype))

    slow = small_model()
    fast = accelerate_mace(copy.deepcopy(slow))
    losses = train(fast, shaken(given.structures), given.train_steps)
    slow.load_state_dict(fast.state_dict())
    print(f"training: mean square error of forces {losses[0]:.2f} -> {losses[-1]:.4f} (eV/A)^2")

    models = {"mace-torch": slow, "accelerated": fast}
    calculators = {
        name: mace.calculators.MACECalculator(
            models=[model], device="cpu", default_dtype=given.dtype
        )
        for name, model in models.items()
    }
    start = molecule("CH3CH2OH")
    steps = relax(start, calculators["accelerated"], 0.01)
    print(f"relaxation: {steps} steps to {np.abs(start.get_forces()).max():.4f} eV/A")
    drifts = {
        name: dynamics(start, calculator, given.steps, given.femtoseconds)
        for name, calculator in calculators.items()
    }
    for name, drift in drifts.items():
        print(
            f"{name:12} largest change of the total energy {drift.largest * 1e3:.4f} meV/atom, "
            f"drift {drift.slope * 1e3:+.4f} meV/atom/ps, {drift.seconds:.1f} s"
        )
    apart = np.abs(drifts["mace-torch"].final - drifts["accelerated"].final).max()
    print(f"after {given.steps} steps the two are {apart:.1e} A apart")
    return drifts


if __name__ == "__main__":
    main()
