"""Train a small NequIP-style model on forces, with e3nn's modules and accelerated.

    python -m examples.train_forces --help

The data are crystals of aluminium, copper and nickel atoms, strained and rattled, with the forces
of ASE's EMT. `tvm_equi.accelerate` swaps the modules of a copy of the model. Both start from the
same numbers and see the same batches in float64, so their losses follow the same curve.
"""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass
from typing import Annotated

import torch
import typer

import tvm_equi
from examples.metals import (
    ForceLoss,
    Sample,
    joined,
    rattled_alloys,
    settings_for_metals,
)
from tvm_equi.demo.run import make_reference


@dataclass(frozen=True, slots=True)
class Run:
    """What training gave.

    Args:
        losses: of each step.
        seconds: per step, the median.
    """

    losses: list[float]
    seconds: float


def train(
    model: torch.nn.Module, samples: list[Sample], steps: int, batch: int, rate: float
) -> Run:
    """Trains a model with Adam, batch after batch.

    Args:
        model: of the energy.
        samples: to train on.
        steps: of the optimizer.
        batch: samples in each step.
        rate: of learning.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    loss_of = ForceLoss(model)
    starts = range(0, len(samples) - batch + 1, batch)
    batches = [joined(samples[start : start + batch]) for start in starts]
    losses, times = [], []
    for step in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_of(*batches[step % len(batches)])
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
        losses.append(float(loss.detach()))
    return Run(losses, statistics.median(times))


def main(
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.", min=1)] = 40,
    crystals: Annotated[int, typer.Option(help="Crystals to train on.", min=1)] = 8,
    batch: Annotated[int, typer.Option(help="Crystals in a step.", min=1)] = 2,
    repeats: Annotated[int, typer.Option(help="Cells of 4 atoms in each direction.", min=1)] = 2,
    channels: Annotated[int, typer.Option(help="Channels of each irrep.", min=1)] = 16,
    layers: Annotated[int, typer.Option(help="Layers of interaction.", min=1)] = 2,
    max_degree: Annotated[int, typer.Option(help="Highest degree of all irreps.", min=1)] = 2,
    rate: Annotated[float, typer.Option(help="Rate of learning.")] = 0.01,
    threads: Annotated[int, typer.Option(help="Threads of both models.", min=1)] = 1,
) -> tuple[Run, Run]:
    """Train one model on forces twice, as it is and accelerated, and compare the losses."""
    torch.set_num_threads(threads)
    settings = settings_for_metals(channels, layers, max_degree)
    samples = rattled_alloys(crystals, settings, repeats=repeats)
    model = make_reference(settings)
    accelerated = tvm_equi.accelerate(copy.deepcopy(model))
    before, after = (train(each, samples, steps, batch, rate) for each in (model, accelerated))
    print(f"{crystals} crystals of {len(samples[0].forces)} atoms, {batch} in a step")
    print(f"{'step':>4}  {'loss, e3nn':>18}  {'loss, accelerated':>18}  difference")
    for step, (left, right) in enumerate(zip(before.losses, after.losses, strict=True)):
        if step % max(1, steps // 10) == 0 or step == steps - 1:
            print(f"{step:>4}  {left:>18.12f}  {right:>18.12f}  {abs(left - right) / left:.1e}")
    print(
        f"time per step: e3nn {1e3 * before.seconds:.1f} ms, accelerated "
        f"{1e3 * after.seconds:.1f} ms ({before.seconds / after.seconds:.1f} times as fast)"
    )
    return before, after


if __name__ == "__main__":
    typer.run(main)
