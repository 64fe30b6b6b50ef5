"""A fresh environment with only the runtime parts runs a model that was made elsewhere.

The environment has numpy, apache-tvm-ffi and this package's wheel, which is installed without what
it depends on, and the folder that `tvm-equi runtime` writes. The model is the demo's, with forces;
what is expected comes from e3nn in float64.
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deploy_runtimes.demo_model import SMALL, eager, write_demo
from tvm_equi.demo.structures import crystal, molecule

pytestmark = pytest.mark.deploy

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("without_torch.py")
TARGETS = ("x86-64-v2", "x86-64-v3")
TOLERANCES = {"float32": 3e-5, "float64": 1e-11}


def run(*command: str | Path, **variables: str) -> str:
    """What a command prints."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=kept | variables,
        cwd=command[-1] if Path(command[-1]).is_dir() else None,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(name="python", scope="module")
def _python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    # The wheel is built here, where hatchling is.
    wheel = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(sys.executable, *wheel, "--wheel-dir", folder / "wheel", ROOT)
    (built,) = (folder / "wheel").glob("tvm_equi-*.whl")
    pins = [f"{name}=={version(name)}" for name in ("numpy", "apache-tvm-ffi")]
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, *pins)
    run(*install, "--no-deps", "--no-index", built)
    return python


@pytest.fixture(name="parts", scope="module")
def _parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tvm-equi runtime` writes."""
    folder = tmp_path_factory.mktemp("parts") / "runtime"
    run(sys.executable, "-m", "tvm_equi.cli", "runtime", "-o", folder, PYTHONPATH=str(ROOT))
    return folder


@pytest.fixture(name="models", scope="module")
def _models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of both dtypes, and cases."""
    folder = tmp_path_factory.mktemp("models")
    for dtype in ("float32", "float64"):
        reference = write_demo(folder / f"{dtype}.tvmeq", dtype, TARGETS)
    for structure in (molecule(SMALL.cutoff), crystal(8, SMALL.cutoff), crystal(64, SMALL.cutoff)):
        energy, forces = eager(reference, structure)
        inputs = {name: value.numpy() for name, value in structure.inputs().items()}
        wanted = {"expected_energy": energy.numpy(), "expected_gradient": -forces.numpy()}
        np.savez(folder / f"{structure.name}.npz", **inputs, **wanted)
    return folder


@pytest.fixture(name="report", scope="module")
def _report(python: Path, parts: Path, models: Path) -> dict[str, Any]:
    """What the other environment says."""
    text = run(python, CHILD, models, TVM_EQUI_RUNTIME=str(parts / "lib"))
    found: dict[str, Any] = json.loads(text)
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
        ("index", r"IndexRangeError: float64\.tvmeq: main: .*senders.*: expected an index from 0"),
        ("size", r"ArgumentError: float64\.tvmeq: main: shifts: expected float64 \[edges, 3\], got"),
        ("dtype", r"ArgumentTypeError: float64\.tvmeq: main: positions: .*, got float16 \["),
        ("missing", r"ArtifactError: load: .*none\.tvmeq: expected a model file, got: No such file"),
        ("tvm_equi.load", r"tvm_equi\.load: expected torch, got none; .*tvm_equi\.deploy\.load"),
    ],
)
def test_errors_are_in_words(report: dict[str, Any], name: str, pattern: str) -> None:
    assert re.search(pattern, report["errors"][name]), report["errors"][name]
