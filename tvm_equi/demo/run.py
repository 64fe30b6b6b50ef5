"""The demo from end to end: structures, models, compilation, comparison, times, a saved artifact.

In: options. Out: tables on a console, and an artifact's folder.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import tvm_equi
from tvm_equi.demo.measure import (
    Accuracy,
    Times,
    energy_and_forces,
    measure_accuracy,
    measure_times,
)
from tvm_equi.demo.model import ReferenceModel, Settings, graph_parameters, interaction_graph
from tvm_equi.demo.reload import energy_in_fresh_process
from tvm_equi.demo.structures import Structure, crystal, molecule
from tvm_equi.errors import ArtifactError
from tvm_equi.graph import TensorProductGraph
from tvm_equi.graph.fuse import regions
from tvm_equi.graph.operations import ScatterSum, TensorProduct
from tvm_equi.graph.types import DType
from tvm_equi.nn.artifact import Artifact
from tvm_equi.nn.graph_module import DTYPES, GraphModule

USES = ("forward", "forces", "training")
LABELS = {
    "forward": "energy",
    "forces": "energy and forces",
    "training": "training step on forces",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo is asked for.

    Args:
        num_atoms: of the crystal.
        threads: of torch and the kernels; with more than one, other work on the machine disturbs
            both models much more.
        out: where the artifact goes.
        dtype: that is timed and saved; differences are shown for both.
        settings: of the model.
        seconds: to spend on each timing.
    """

    num_atoms: int = 64
    threads: int = 1
    out: Path = Path("tvm_equi_demo.tvmeq")
    dtype: DType = "float32"
    settings: Settings = field(default_factory=Settings)
    seconds: float = 0.5


def run_demo(options: Options, console: Console) -> None:
    """Runs the demo.

    Args:
        options: what is asked for.
        console: to print on.

    Raises:
        ArtifactError: the saved artifact does not give the same energy.
    """
    started = time.perf_counter()
    torch.set_num_threads(options.threads)
    settings = options.settings
    structures = [crystal(options.num_atoms, settings.cutoff), molecule(settings.cutoff)]
    for structure in structures:
        console.print(
            f"{structure.name}: {len(structure.senders)} pairs within {settings.cutoff} Å"
        )
    reference = make_reference(settings)
    num_parameters = sum(parameter.numel() for parameter in reference.parameters())
    console.print(
        f"model: {settings.num_layers} layers, {settings.num_channels} channels, spherical "
        f"harmonics to degree {settings.max_degree}, {num_parameters:,} parameters; "
        f"threads: {torch.get_num_threads()}"
    )
    accuracies: dict[str, list[Accuracy]] = {}
    other: DType = "float64" if options.dtype == "float32" else "float32"
    for dtype in (other, options.dtype):
        artifact = compile_model(reference, settings, dtype, dtype == options.dtype, console)
        model = reference.to(DTYPES[dtype])
        accuracies[dtype] = [
            measure_accuracy(artifact, model, structure.to(DTYPES[dtype]))
            for structure in structures
        ]
    console.print(fusion_line(interaction_graph(settings, options.dtype), artifact.graph))
    console.print(accuracy_table(structures, accuracies))
    timed = [structure.to(DTYPES[options.dtype]) for structure in structures]
    with console.status("timing"):
        times = [
            (measure_times(model, s, options.seconds), measure_times(artifact, s, options.seconds))
            for s in timed
        ]
    console.print(times_table(structures, times, options.dtype))
    save_and_reload(artifact, timed[0], options.out, console)
    console.print(f"done in {time.perf_counter() - started:.0f} s")


def make_reference(settings: Settings) -> ReferenceModel:
    """The e3nn model, whose constants are exact to float64: e3nn rounds them to the default dtype.

    Args:
        settings: of the model.
    """
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return ReferenceModel(settings)
    finally:
        torch.set_default_dtype(before)


def compile_model(
    reference: ReferenceModel, settings: Settings, dtype: DType, is_trained: bool, console: Console
) -> Artifact:
    """The compiled model, with the reference's numbers.

    Args:
        reference: whose parameters to use.
        settings: of the model.
        dtype: to compile for.
        is_trained: whether to compile for training, or for energies and forces only.
        console: to show progress on.
    """
    graph = interaction_graph(settings, dtype)
    module = GraphModule(graph, graph_parameters(reference, graph))
    module.requires_grad_(is_trained)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    purpose = "energy, forces, training" if is_trained else "energy, forces"
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"compiling {dtype} kernels for {purpose}", total=None)
        return tvm_equi.compile(
            module,
            derivatives=2 if is_trained else 1,
            wrt=["positions"],
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def fusion_line(before: TensorProductGraph, after: TensorProductGraph) -> str:
    """How many tensor products over edges became convolutions, in a sentence.

    Args:
        before: the model's graph, as it was built.
        after: the graph that was compiled.
    """
    summed = {node.inputs[0] for node in before.nodes if isinstance(node.operation, ScatterSum)}
    num_summed = sum(isinstance(before.node(name).operation, TensorProduct) for name in summed)
    found = regions(after)
    num_layers = sum(region.linear is not None for region in found)
    return (
        f"fused: {len(found)} of {num_summed} tensor products over edges, with gather and sum, "
        f"into convolutions, {num_layers} of them followed by a linear layer"
    )


def accuracy_table(structures: list[Structure], accuracies: dict[str, list[Accuracy]]) -> Table:
    """Differences between the models, and errors of symmetry.

    Args:
        structures: the rows, for each dtype.
        accuracies: by dtype, in the order of the structures.
    """
    table = Table(title="compiled against e3nn, and under a rotation with inversion")
    for header in ("structure", "dtype"):
        table.add_column(header, no_wrap=True)
    for header in ("|ΔE|/atom", "|ΔF|/max|F|", "turned E", "turned F"):
        table.add_column(header, justify="right")
    for dtype in sorted(accuracies):
        for structure, found in zip(structures, accuracies[dtype], strict=True):
            numbers = (found.energy, found.forces, found.rotation_energy, found.rotation_forces)
            table.add_row(structure.name, dtype, *(f"{number:.1e}" for number in numbers))
    return table


def times_table(structures: list[Structure], times: list[tuple[Times, Times]], dtype: str) -> Table:
    """Times of both models and their ratios.

    Args:
        structures: in order.
        times: (e3nn, compiled) of each structure.
        dtype: that was timed.
    """
    table = Table(title=f"time, {dtype}, median")
    table.add_column("structure")
    table.add_column("use")
    for header in ("e3nn", "compiled", "ratio"):
        table.add_column(header, justify="right")
    for structure, (before, after) in zip(structures, times, strict=True):
        for use in USES:
            old, new = getattr(before, use), getattr(after, use)
            cells = (f"{1e3 * old:.1f} ms", f"{1e3 * new:.1f} ms", f"{old / new:.1f}")
            table.add_row(structure.name, LABELS[use], *cells)
    return table


def save_and_reload(artifact: Artifact, structure: Structure, out: Path, console: Console) -> None:
    """Saves an artifact and proves that a fresh process gets the same energy from it.

    Args:
        artifact: to save.
        structure: to compute.
        out: the artifact's file.
        console: to print on.

    Raises:
        ArtifactError: the energies differ.
    """
    path = artifact.save(out)
    energy = float(energy_and_forces(artifact, structure)[0])
    with tempfile.TemporaryDirectory() as scratch:
        again = energy_in_fresh_process(path, structure, Path(scratch))
    if energy != again:
        raise ArtifactError(f"demo: reload: expected energy {energy!r}, got {again!r}")
    size = path.stat().st_size
    console.print(
        f"artifact: {path.resolve()} ({len(artifact.kernels)} kernels, {size / 1e6:.1f} MB); "
        "loaded in a fresh process without a compiler, it gives the same energy to the last bit"
    )
