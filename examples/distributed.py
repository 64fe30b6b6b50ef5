"""Train on forces in several processes, with torch's DistributedDataParallel.

    python -m examples.distributed --help

Each process computes the gradients of its share of a batch; gloo averages them. What comes out is
compared with one process that has the whole batch: the gradients of the first step, with compiled
kernels and with e3nn's modules, and the parameters after the last. Processes are spawned: neither
TVM's threads nor those of OpenMP outlive a fork.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from examples.metals import (
    ForceLoss,
    accelerated,
    joined,
    rattled_alloys,
    settings_for_metals,
)
from tvm_equi.demo.model import ReferenceModel
from tvm_equi.demo.run import make_reference


@dataclass(frozen=True, slots=True)
class Job:
    """What every process is told.

    Args:
        processes: how many there are.
        crystals: in a batch, shared out evenly.
        steps: of the optimizer.
        channels: of each irrep of the model.
        folder: where the processes meet and the first leaves its numbers.
    """

    processes: int
    crystals: int
    steps: int
    channels: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Differences:
    """Largest differences between many processes and one, over the largest number.

    Args:
        gradients: of the first step, to one process with compiled kernels.
        gradients_of_e3nn: of the first step, to one process with e3nn's modules.
        parameters: after the last step, to one process with compiled kernels.
    """

    gradients: float
    gradients_of_e3nn: float
    parameters: float


def train(loss_of: torch.nn.Module, job: Job, share: slice) -> dict[str, np.ndarray]:
    """Trains on a share of the crystals: the gradients of the first step, the last parameters.

    Args:
        loss_of: a `ForceLoss`, or one that averages gradients over processes.
        job: to do.
        share: of the crystals.
    """
    samples = rattled_alloys(job.crystals, settings_for_metals(job.channels, 2, 1))
    structure, forces = joined(samples[share])
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=0.01)
    found: dict[str, np.ndarray] = {}
    for step in range(job.steps):
        optimizer.zero_grad()
        loss_of(structure, forces).backward()
        if step == 0:
            found["gradients"] = _flat([value.grad for value in loss_of.parameters()])
        optimizer.step()
    return found | {"parameters": _flat(list(loss_of.parameters()))}


def _flat(values: list[torch.Tensor | None]) -> np.ndarray:
    """All numbers in one array."""
    whole = torch.cat([value.detach().flatten() for value in values if value is not None])
    return np.array(whole.numpy())


def make_model(job: Job) -> ReferenceModel:
    """The model with e3nn, the same in every process.

    Args:
        job: that tells its size.
    """
    return make_reference(settings_for_metals(job.channels, 2, 1))


def work(rank: int, job: Job) -> None:
    """One process: trains on its share; the first saves what it found.

    Args:
        rank: of the process.
        job: to do.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all processes are on this machine
    distributed.init_process_group(
        "gloo", f"file://{job.folder}/meeting", rank=rank, world_size=job.processes
    )
    try:
        size = job.crystals // job.processes
        loss_of = DistributedDataParallel(ForceLoss(accelerated(make_model(job))))
        found = train(loss_of, job, slice(rank * size, (rank + 1) * size))
        if rank == 0:
            np.savez(job.folder / "found.npz", **found)
    finally:
        distributed.destroy_process_group()


def gradients_of_e3nn(model: ReferenceModel, job: Job) -> np.ndarray:
    """The gradients of the whole batch with e3nn's modules, in the order of the graph's parameters.

    Args:
        model: whose parameters become their gradients.
        job: that tells the batch.
    """
    ForceLoss(model)(*joined(rattled_alloys(job.crystals, model.settings))).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    return _flat(list(accelerated(model).parameters()))  # some weights are ordered otherwise there


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, over the largest number."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def main(
    processes: Annotated[int, typer.Option(help="Processes that share a batch.", min=1)] = 2,
    crystals: Annotated[int, typer.Option(help="Crystals in each process.", min=1)] = 4,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.", min=1)] = 10,
    channels: Annotated[int, typer.Option(help="Channels of each irrep.", min=1)] = 8,
) -> Differences:
    """Train in several processes and in one, and compare gradients and parameters."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(processes, crystals * processes, steps, channels, Path(folder))
        multiprocessing.spawn(work, (job,), nprocs=processes)
        with np.load(job.folder / "found.npz") as file:
            many = dict(file)
        model, whole = make_model(job), slice(None)
        one = train(ForceLoss(accelerated(model)), job, whole)
    theirs = gradients_of_e3nn(model, job)
    found = Differences(
        _difference(many["gradients"], one["gradients"]),
        _difference(many["gradients"], theirs),
        _difference(many["parameters"], one["parameters"]),
    )
    print(
        f"{processes} processes, {crystals} crystals in each, {many['gradients'].size} parameters"
    )
    print(f"gradients of the first step, to one process:          {found.gradients:.1e}")
    print(f"gradients of the first step, to one process of e3nn:  {found.gradients_of_e3nn:.1e}")
    print(f"parameters after {steps} steps, to one process:          {found.parameters:.1e}")
    return found


if __name__ == "__main__":
    typer.run(main)
