"""Load an artifact in a fresh process and run it: `python -m tvm_equi.demo.reload FILE INPUTS`.

In: two paths. Out: one line of JSON with the energy, exact, and whether the compiler was imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import tvm_equi
from tvm_equi.demo.structures import Structure
from tvm_equi.errors import ArtifactError


def energy_in_fresh_process(artifact: Path, structure: Structure, scratch: Path) -> float:
    """The energy that a saved artifact gives in a new process without a compiler.

    Args:
        artifact: its file.
        structure: to compute.
        scratch: a folder for the inputs.

    Raises:
        ArtifactError: the process failed, or imported the compiler.
    """
    file = scratch / "inputs.npz"
    arrays = {name: value.numpy() for name, value in structure.inputs().items()}
    np.savez(file, allow_pickle=False, **arrays)
    command = [sys.executable, "-m", "tvm_equi.demo.reload", str(artifact), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ArtifactError(
            f"demo: reload: expected the artifact to load, got: {done.stderr[-500:]}"
        )
    answer = json.loads(done.stdout)
    if answer["compiler"]:
        raise ArtifactError("demo: reload: expected no compiler to be imported, got one")
    return float.fromhex(answer["energy"])


def main(artifact: str, inputs: str) -> None:
    """Prints the energy of an artifact for stored inputs.

    Args:
        artifact: its file.
        inputs: an .npz file.
    """
    model = tvm_equi.load(artifact)
    with np.load(inputs, allow_pickle=False) as data:
        given = {name: torch.from_numpy(data[name]) for name in data.files}
    with torch.no_grad():
        energy = float(model(**given))
    sys.stdout.write(json.dumps({"energy": energy.hex(), "compiler": "tvm" in sys.modules}))


if __name__ == "__main__":
    main(*sys.argv[1:])
