"""A MACE model of the size of MACE-MP-0 medium: as mace-torch runs it, and accelerated.

Run as `python -m bench.models.mace` where mace-torch is installed (`make bench-models`); `--help`
lists the options. Weights are random. Two uses are timed, on the same data, in turns: energy and
forces, with parameters that need no gradient, as in mace-torch's calculator; and a training step, a
loss on energy and forces and its gradient to all parameters. mace-torch runs in its default mode,
without torch.compile. Peak memory is of one call, in a process of its own.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from bench.models.compare import FORCES, compare, options, run
from bench.models.measure import Call, Line, Question, answer_as_child
from bench.models.structures import STRUCTURES
from bench.options import DTYPES
from tvm_equi.models.mace import accelerate_mace

DEFAULT, OURS = "mace-torch", "accelerated"

R_MAX = 5.0
NUM_ELEMENTS = 89
"""As MACE-MP-0: the elements up to uranium that it knows; here the first ones of the table."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model is.

    Args:
        hidden: irreps of its features.
        max_ell: degree of the spherical harmonics.
        num_elements: that it knows.
    """

    hidden: str
    max_ell: int
    num_elements: int


LARGE = Size("128x0e + 128x1o + 128x2e", 3, NUM_ELEMENTS)
MEDIUM = Size("128x0e + 128x1o", 3, NUM_ELEMENTS)
SMALL = Size("8x0e + 8x1o", 2, 8)


def make_model(question: Question) -> torch.nn.Module:
    """The model, always with the same weights.

    Args:
        question: says whether it is accelerated, its dtype and size.
    """
    size = SMALL if question.small else MEDIUM
    model = build(size, question.dtype)
    return accelerate_mace(model) if question.contestant == OURS else model


def build(size: Size, dtype: str) -> torch.nn.Module:
    """A model with random weights, always the same ones, as mace-torch makes it.

    Args:
        size: of the model.
        dtype: of its values.
    """
    import numpy as np
    from e3nn import o3
    from mace import modules

    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[dtype])
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model: torch.nn.Module = modules.ScaleShiftMACE(
        r_max=R_MAX,
        num_bessel=10,
        num_polynomial_cutoff=5,
        max_ell=size.max_ell,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=size.num_elements,
        hidden_irreps=o3.Irreps(size.hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(size.num_elements),
        avg_num_neighbors=60.0,
        atomic_numbers=list(range(1, size.num_elements + 1)),
        correlation=3,
        radial_MLP=[64, 64, 64],
        radial_type="bessel",
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    return model


def make_batch(question: Question) -> dict[str, Any]:
    """The inputs of a model.

    Args:
        question: says which structure, and its size.
    """
    size = SMALL if question.small else MEDIUM
    return batch(size, question.structure, question.num_atoms, question.dtype)


def batch(size: Size, structure: str, num_atoms: int, dtype: str) -> dict[str, Any]:
    """The inputs of a model for one structure, by mace-torch's names.

    Args:
        size: of the model.
        structure: its name.
        num_atoms: wanted.
        dtype: of the values.
    """
    from mace import data, tools
    from mace.tools import torch_geometric

    torch.set_default_dtype(DTYPES[dtype])
    atoms = STRUCTURES[structure](num_atoms)
    numbers = tools.AtomicNumberTable(list(range(1, size.num_elements + 1)))
    config = data.config_from_atoms(atoms)
    one = data.AtomicData.from_config(config, z_table=numbers, cutoff=R_MAX)
    loader = torch_geometric.dataloader.DataLoader([one], batch_size=1)
    found: dict[str, Any] = next(iter(loader)).to_dict()
    return found


def make_call(question: Question) -> Call:
    """One use of a model.

    Args:
        question: which.
    """
    model, inputs = make_model(question), make_batch(question)
    if question.use == FORCES:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return partial(_forces, model, inputs)
    return partial(_training_step, model, inputs)


def _forces(model: torch.nn.Module, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    out = model(dict(batch), training=False, compute_force=True)
    return {"energy": out["energy"].detach(), "forces": out["forces"].detach()}


def _training_step(model: torch.nn.Module, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    out = model(dict(batch), training=True, compute_force=True)
    num_atoms = len(out["forces"])
    loss = out["energy"].square().sum() / num_atoms + 10 * out["forces"].square().mean()
    loss.backward()
    found = {"loss": loss.detach(), "forces": out["forces"].detach()}
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return found | {"gradients": torch.cat(gradients)}


def measure(question: Question, rounds: int, has_memory: bool) -> Line:
    """Times, differences and memory of one use.

    Args:
        question: which; its contestant does not count.
        rounds: timed calls of each contestant.
        has_memory: whether memory is measured, in further processes.
    """
    names = (DEFAULT, OURS)
    return compare("bench.models.mace", make_call, question, names, rounds, has_memory)


def main() -> None:
    """Prints a table and writes JSON, or, in a child process, answers one question."""
    warnings.filterwarnings("ignore", message="Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY")
    if answer_as_child(make_call):
        return
    given = options("mace", __doc__, small="a model of 8 channels").parse_args()
    run("MACE", given, given.uses, lambda q: measure(q, given.rounds, not given.no_memory))


if __name__ == "__main__":
    main()
