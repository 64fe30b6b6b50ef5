"""A fresh environment with only the runtime parts runs a model that was made elsewhere.

The commands of the page about Python without torch make the environment: numpy, tvm_ffi, this
package without what it depends on, and the folder that `tvm-equi runtime` writes. The model is the
demo's, with forces; what is expected comes from e3nn in float64.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from tests.deploy_runtimes.cpp_build import shared_folder
from tests.deploy_runtimes.demo_model import SMALL, eager, shared_demo
from tvm_equi.demo.run import make_reference
from tvm_equi.demo.structures import crystal, molecule
from tvm_equi.graph.types import DType

pytestmark = pytest.mark.deploy

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deploy_python.md"
CHILD = Path(__file__).with_name("without_torch.py")
DTYPES: tuple[DType, ...] = ("float32", "float64")
TOLERANCES = {"float32": 3e-5, "float64": 1e-11}


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """What a command prints."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=kept | variables,
        cwd=folder,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def make_models(shared: Path, folder: Path) -> None:
    """Models of both dtypes, and cases."""
    for dtype in DTYPES:
        shutil.copy(shared_demo(shared, dtype), folder / f"{dtype}.tvmeq")
    reference = make_reference(SMALL)
    for structure in (molecule(SMALL.cutoff), crystal(8, SMALL.cutoff), crystal(64, SMALL.cutoff)):
        energy, forces = eager(reference, structure)
        inputs = {name: value.numpy() for name, value in structure.inputs().items()}
        wanted = {"expected_energy": energy.numpy(), "expected_d_positions": -forces.numpy()}
        np.savez(folder / f"{structure.name}.npz", **inputs, **wanted)


def make_environment(models: Path, folder: Path) -> None:
    """An environment and the parts, made by the page's commands."""
    shutil.copy(models / "float32.tvmeq", folder / "potential.tvmeq")
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    ours = f"PYTHONPATH={ROOT} {sys.executable} -m tvm_equi.cli "
    for found, wanted in (
        ("tvm-equi ", ours),
        ("python3 -m venv", f"{sys.executable} -m venv"),
        ("--no-deps .\n", f"--no-deps {ROOT}\n"),
    ):
        assert commands.count(found) == 1
        commands = commands.replace(found, wanted)
    pins = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    shown = run("bash", "-e", "-c", commands, folder=folder, **pins)
    assert "Model(potential.tvmeq: main, x86-64-v3, " in shown


@pytest.fixture(name="report", scope="module")
def _report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the other environment says; made once for all workers of a test run."""
    shared = shared_folder(tmp_path_factory)
    place, models, answer = (shared / f"python_{name}" for name in ("place", "models", "answer"))
    with filelock.FileLock(f"{answer}.lock"):
        if not answer.exists():
            for folder in (place, models):
                folder.mkdir()
            make_models(shared, models)
            make_environment(models, place)
            python, parts = place / "runtime/bin/python", place / "parts/lib"
            text = run(python, CHILD, models, folder=models, TVM_EQUI_RUNTIME=str(parts))
            answer.write_text(text, encoding="utf-8")
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def test_nothing_else_is_there(report: dict[str, Any]) -> None:
    names = ["torch", "e3nn", "tvm", "networkx", "rich", "typer", "scipy"]
    assert report["absent"] == names
    assert report["loaded"] == []


def test_values_are_those_of_eager_float64(report: dict[str, Any]) -> None:
    found = report["differences"]
    uses = ("1 threads", "2 threads", "called by threads")
    assert set(found) == {f"{dtype}, {use}" for dtype in TOLERANCES for use in uses}
    for name, difference in found.items():
        assert difference < TOLERANCES[name.split(",")[0]], name
    assert report["still right"] < TOLERANCES["float64"]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        (
            "index",
            r"IndexRangeError: float64\.tvmeq: main: .*senders.*: expected indices from 0 to",
        ),
        (
            "size",
            r"ArgumentError: float64\.tvmeq: main: shifts: expected float64 \[edges, 3\], got",
        ),
        ("dtype", r"ArgumentTypeError: float64\.tvmeq: main: positions: .*, got float16 \["),
        (
            "missing",
            r"ArtifactError: load: .*none\.tvmeq: expected a model file, got: No such file",
        ),
        ("tvm_equi.load", r"tvm_equi\.load: expected torch, got none; .*tvm_equi\.deploy\.load"),
    ],
)
def test_errors_are_in_words(report: dict[str, Any], name: str, pattern: str) -> None:
    assert re.search(pattern, report["errors"][name]), report["errors"][name]
