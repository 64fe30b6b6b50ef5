"""Makes what `bench.deploy` measures: model files, inputs, and what torch computes of them.

Run as `python -m bench.deploy_make FOLDER`, where mace-torch is installed. In: the name of a size.
Out: `model.tvmeq`, MACE with forces; `tiny.tvmeq`, a program of one kernel, which has its graph too;
and for each an .npz with inputs and, of MACE, energies and forces in float64, as mace-torch
computes them from the same weights.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch

from bench.models import deployed
from bench.models.mace import LARGE, SMALL, Size
from bench.options import say
from tvm_equi.deploy.manifest import Value
from tvm_equi.export.capture import Captured, capture, capture_graph, example_inputs
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.serialize import to_json
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.relax.program import build_program
from tvm_equi.runtime.compiled import CompiledProgram, Library
from tvm_equi.runtime.model_file import Content, described, save_model

TARGETS = ("x86-64-v3", "x86-64-v4")
STRUCTURE, ATOMS = "water", 96
"""Of the inputs; the first call is compared with later ones of the same size."""

SIZES = {"large": LARGE, "small": SMALL}


def write_program(
    path: Path, captured: Captured, dtype: str, targets: tuple[str, ...], graph: str | None = None
) -> None:
    """Compiles a captured model into a model file.

    Args:
        path: of the file.
        captured: the model.
        dtype: of its values.
        targets: names of CPUs.
        graph: its text, where torch is to run it too.
    """
    built = build_program(captured, targets)

    def values(given: tuple[object, ...]) -> tuple[Value, ...]:
        return tuple(Value(v.name, v.dtype, v.shape) for v in given)  # type: ignore[attr-defined]

    program = CompiledProgram(
        "main",
        values(built.inputs),
        values(built.outputs),
        tuple(built.parameters),
        {target: Library.of(data) for target, data in built.libraries.items()},
        {
            target: [Library.of(library.read_bytes()) for library in libraries]
            for target, libraries in built.kernels.items()
        },
    )
    content = Content(
        dtype,
        0,
        tuple(described(target) for target in targets),
        programs=(program,),
        parameters=built.parameters,
        graph=graph,
    )
    save_model(path, content)


def make_mace(folder: Path, size: Size, targets: tuple[str, ...]) -> None:
    """MACE with forces, inputs for it, and what mace-torch computes of them.

    Args:
        folder: to write to.
        size: of the model.
        targets: names of CPUs.
    """
    say("capturing MACE")
    example = deployed.inputs(size, STRUCTURE, 24, "float32")
    model = deployed.single(size)
    captured = capture(model, example, deployed.sizes(size), deployed.OUTPUTS)
    say("compiling MACE")
    write_program(folder / "model.tvmeq", captured, "float32", targets)
    say("computing in float64")
    inputs = deployed.inputs(size, STRUCTURE, ATOMS, "float64")
    expected = deployed.reference(size)(**inputs)
    torch.set_default_dtype(torch.float32)
    np.savez(
        folder / "model.npz",
        **{name: _single(value) for name, value in inputs.items()},
        **{f"expected_{name}": value.detach().numpy() for name, value in expected.items()},
    )


def make_tiny(folder: Path, targets: tuple[str, ...]) -> None:
    """A tensor product of few channels on its own, and 8 rows of inputs.

    Args:
        folder: to write to.
        targets: names of CPUs.
    """
    build = GraphBuilder()
    x, y = build.input("x", "8x0e+8x1o", rows="edge"), build.input("y", "0e+1o", rows="edge")
    out, instructions = channelwise("8x0e+8x1o", "0e+1o", "8x0e+8x1o")
    w = build.input("w", f"{8 * len(instructions)}x0e", rows="edge")
    graph = build.graph(build.tensor_product("z", x, y, out, instructions, weights=w))
    module = GraphModule(graph)
    write_program(
        folder / "tiny.tvmeq", capture_graph(module), "float32", targets, to_json(graph, indent=1)
    )
    inputs, _ = example_inputs(module)
    np.savez(folder / "tiny.npz", **{name: value[:8].numpy() for name, value in inputs.items()})


def _single(value: torch.Tensor) -> np.ndarray:
    """An array of float32, or of integers."""
    array: np.ndarray = value.detach().numpy()
    return array.astype(np.float32) if value.is_floating_point() else array


def main() -> None:
    """Writes the files."""
    warnings.filterwarnings("ignore", message="Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY")
    parser = argparse.ArgumentParser(prog="python -m bench.deploy_make", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="large")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    make_tiny(given.folder, TARGETS)
    make_mace(given.folder, SIZES[given.size], TARGETS)


if __name__ == "__main__":
    main()
