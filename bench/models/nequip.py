"""A NequIP model of 32 features and degrees up to 2: as nequip runs it, and accelerated.

Run as `python -m bench.models.nequip` where nequip is installed (`make bench-models`); `--help`
lists the options. Weights are random. Two uses are timed, on the same data, in turns: energy and
forces, with parameters that need no gradient, as in nequip's calculator; and a training step, a
loss on energy and forces and its gradient to all parameters. nequip runs in its default mode,
eager, or compiled ahead of time (`--compiled`, for energy and forces; compiling takes minutes).
Peak memory is of one call, in a process of its own.
"""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.models.compare import FORCES, TRAINING, compare, options, run
from bench.models.measure import Call, Line, Question, answer_as_child
from bench.models.structures import STRUCTURES
from tvm_equi.models.nequip import MODIFIER

DEFAULT, OURS = "nequip", "accelerated"
COMPILED, BOTH = "nequip, compiled", "accelerated, compiled"

R_MAX = 5.0
ELEMENTS = ("H", "C", "O")


def make_model(question: Question) -> torch.nn.Module:
    """The model, always with the same weights: nequip's defaults, but degrees up to 2.

    Args:
        question: says whether it is accelerated, its dtype and size.
    """
    from nequip.model import NequIPGNNModel, modify
    from nequip.utils.global_state import set_global_state

    set_global_state()
    model = NequIPGNNModel(
        seed=0,
        model_dtype=question.dtype,
        r_max=R_MAX,
        type_names=list(ELEMENTS),
        num_layers=2 if question.small else 4,
        l_max=1 if question.small else 2,
        num_features=8 if question.small else 32,
        avg_num_neighbors=50.0,
        per_type_energy_scales=dict.fromkeys(ELEMENTS, 1.0),
        per_type_energy_shifts=dict.fromkeys(ELEMENTS, 0.0),
    )
    if question.contestant in (OURS, BOTH):
        modify(model, [{"modifier": MODIFIER}])
    return model


def make_data(question: Question) -> dict[str, torch.Tensor]:
    """The inputs of a model.

    Args:
        question: says which structure, and its size.
    """
    from nequip.data import compute_neighborlist_, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

    atoms = STRUCTURES[question.structure](question.num_atoms)
    names = ChemicalSpeciesToAtomTypeMapper(
        model_type_names=list(ELEMENTS),
        chemical_species_to_atom_type_map={name: name for name in ELEMENTS},
    )
    found: dict[str, torch.Tensor] = compute_neighborlist_(names(from_ase(atoms)), r_max=R_MAX)
    return found


def make_call(question: Question) -> Call:
    """One use of a model.

    Args:
        question: which.
    """
    model, data = make_model(question), make_data(question)
    if question.use == TRAINING:
        return partial(_training_step, model.train(), data)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.eval()
    if question.contestant in (COMPILED, BOTH):
        model, data = _compiled(model, data)
    return partial(_forces, model, data)


def _compiled(model: torch.nn.Module, data: dict[str, torch.Tensor]) -> tuple[Any, Any]:
    """The model as `nequip-compile --mode aotinductor --target ase` makes it."""
    from nequip.nn.compile import DictInputOutputWrapper
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
    from nequip.utils.aot import aot_export_model

    target = COMPILE_TARGET_DICT["ase"]
    sizes = {
        kind: torch.export.dynamic_shapes.Dim(name, min=2, max=torch.inf)
        for kind, name in (("graph", "frames"), ("node", "nodes"), ("edge", "edges"))
    }
    data = target["data_settings"](data)
    given = {key: data[key] for key in target["input"]}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.nequip.pt2")
        aot_export_model(
            model,
            "cpu",
            target["input"],
            target["output"],
            given,
            target["batch_map_settings"](sizes),
            path,
        )
        loaded = torch._inductor.aoti_load_package(path)
    return DictInputOutputWrapper(loaded, target["input"], target["output"]), given


def _forces(model: Any, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    out = model(data.copy())
    return {"energy": out["total_energy"].detach(), "forces": out["forces"].detach()}


def _training_step(model: Any, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    out = model(data.copy())
    forces = out["forces"]
    loss = out["total_energy"].square().sum() / len(forces) + 10 * forces.square().mean()
    loss.backward()
    found = {"loss": loss.detach(), "forces": forces.detach()}
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return found | {"gradients": torch.cat(gradients)}


def main() -> None:
    """Prints a table and writes JSON, or, in a child process, answers one question."""
    warnings.filterwarnings("ignore")
    if answer_as_child(make_call):
        return
    parser = options("nequip", __doc__, small="2 layers, 8 features, degrees up to 1")
    text = "with nequip-compile too, energy and forces alone"
    parser.add_argument("--compiled", action="store_true", help=text)
    given = parser.parse_args()
    names = (DEFAULT, OURS, COMPILED, BOTH) if given.compiled else (DEFAULT, OURS)

    def measure(question: Question) -> Line:
        module, has_memory = "bench.models.nequip", not given.no_memory
        return compare(module, make_call, question, names, given.rounds, has_memory)

    run("NequIP", given, [FORCES] if given.compiled else given.uses, measure)


if __name__ == "__main__":
    main()
