"""Makes what `bench.deploy` measures: model files, inputs, and what torch computes of them.

Run as `python -m bench.deploy_make FOLDER`, where mace-torch is installed. In: the name of a size.
Out: `model.tvmeq`, MACE with forces, and `tiny.tvmeq`, a program of one kernel, which has its graph
too; for each its inputs and, of MACE, energies and forces in float64, as mace-torch computes them
from the same weights.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from bench.models.mace import LARGE, SMALL, Size, batch, build
from bench.options import say
from tvm_equi.compiler import compile
from tvm_equi.deploy.safetensors import Tensor, write_tensors
from tvm_equi.export.capture import example_inputs
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.instructions import channelwise
from tvm_equi.models.mace import accelerate_mace, capture_mace
from tvm_equi.nn.graph_module import GraphModule

TARGETS = ("x86-64-v3", "x86-64-v4")
STRUCTURE, ATOMS = "water", 96
"""Of the inputs; the first call is compared with later ones of the same size."""

TINY_ROWS = 8

SIZES = {"large": LARGE, "small": SMALL}


def make_mace(folder: Path, size: Size) -> None:
    """MACE with forces, inputs for it, and what mace-torch computes of them.

    Args:
        folder: to write to.
        size: of the model.
    """
    say("compiling MACE")
    captured = capture_mace(accelerate_mace(_fixed(build(size, "float32"))))
    compile(captured, TARGETS).save(folder / "model.tvmeq")
    say("computing in float64")
    given = batch(size, STRUCTURE, ATOMS, "float64")
    reference = _fixed(build(size, "float32")).double()
    torch.set_default_dtype(torch.float64)
    wanted = reference(dict(given), compute_force=True, compute_virials=True)
    torch.set_default_dtype(torch.float32)
    inputs = {name: given[name] for name in ("positions", "edge_index", "unit_shifts", "cell")}
    inputs["species"] = given["node_attrs"].argmax(1)
    expected = {name: wanted[name] for name in ("energy", "node_energy", "forces")}
    expected["virials"] = wanted["virials"].reshape(3, 3)
    _write_inputs(
        folder / "model",
        {name: _single(value) for name, value in inputs.items()},
        {f"expected_{name}": value.detach().numpy() for name, value in expected.items()},
    )


def _fixed(model: torch.nn.Module) -> torch.nn.Module:
    """A model whose parameters need no gradient."""
    return model.requires_grad_(False)


def make_tiny(folder: Path) -> None:
    """A tensor product of few channels on its own, and 8 rows of inputs.

    Args:
        folder: to write to.
    """
    graph = GraphBuilder()
    x, y = graph.input("x", "8x0e+8x1o", rows="edge"), graph.input("y", "0e+1o", rows="edge")
    out, instructions = channelwise("8x0e+8x1o", "0e+1o", "8x0e+8x1o")
    w = graph.input("w", f"{8 * len(instructions)}x0e", rows="edge")
    module = GraphModule(graph.graph(graph.tensor_product("z", x, y, out, instructions, weights=w)))
    compile(module, TARGETS, derivatives=0, gradients={}).save(folder / "tiny.tvmeq")
    inputs, _ = example_inputs(module)
    arrays = {name: value[:TINY_ROWS].numpy() for name, value in inputs.items()}
    _write_inputs(folder / "tiny", arrays, {})


def _write_inputs(
    stem: Path, arrays: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]
) -> None:
    """Inputs for Python, with what is expected, and for C++."""
    np.savez(stem.with_suffix(".npz"), **arrays, **wanted)
    tensors = {name: Tensor(array.dtype.name, array) for name, array in arrays.items()}
    stem.with_suffix(".safetensors").write_bytes(write_tensors(tensors))


def _single(value: torch.Tensor) -> np.ndarray:
    """An array of float32, or of integers."""
    array: np.ndarray = value.detach().contiguous().numpy()
    return array.astype(np.float32) if value.is_floating_point() else array


def main() -> None:
    """Writes the files."""
    warnings.filterwarnings("ignore", message="Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY")
    warnings.filterwarnings("ignore", message="The TorchScript type system")
    parser = argparse.ArgumentParser(prog="python -m bench.deploy_make", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="large")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    make_tiny(given.folder)
    make_mace(given.folder, SIZES[given.size])


if __name__ == "__main__":
    main()
