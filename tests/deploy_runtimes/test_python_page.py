"""The examples of the page about Python without torch run, in a process without torch.

Its commands make the environment of `test_python.py`.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tvm_equi

pytestmark = pytest.mark.deploy

DOCS = Path(__file__).parents[2] / "docs"
AFTER = """
import json
forces = found["d_positions"]
still = [name for name in ("torch", "e3nn", "tvm") if sys.modules.get(name)]
kinetic = atoms.get_kinetic_energy() / len(atoms)
print(json.dumps([list(forces.shape), str(forces.dtype), drift, kinetic, still]))
"""


def blocks(page: str, kind: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def test_examples_run(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    exec(blocks("deploy.md", "python")[0], names)
    model = names["model"]
    assert callable(model)
    gradients = {"d_positions": ("energy", "positions")}
    compiled = tvm_equi.compile(model(), "x86-64-v2", derivatives=0, gradients=gradients)
    compiled.save(tmp_path / "potential.tvmeq")
    code = "import sys; sys.modules['torch'] = None\n" + "".join(
        blocks("deploy_python.md", "python")
    )
    done = subprocess.run(
        [sys.executable, "-c", code + AFTER],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(DOCS.parent)},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    shown = re.findall(r"^    (.*)", (DOCS / "deploy_python.md").read_text(), re.MULTILINE)
    assert lines[1:8] == [line for line in shown if line.startswith("  ")][:7]
    shape, dtype, drift, kinetic, loaded = json.loads(lines[-1])
    assert (shape, dtype, loaded) == ([5, 3], "float32", [])
    assert abs(drift) < 1e-3 * kinetic
