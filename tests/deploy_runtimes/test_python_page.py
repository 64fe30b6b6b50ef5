"""The examples of the page about Python without torch run, in a process without torch.

Its commands make the environment of `test_python.py`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy_runtimes.cpp_build import shared_folder
from tests.deploy_runtimes.demo_model import shared_demo

pytestmark = pytest.mark.deploy

DOCS = Path(__file__).parents[2] / "docs"
AFTER = """
import json
forces = found["d_positions"]
still = [name for name in ("torch", "e3nn", "tvm") if sys.modules.get(name)]
kinetic = atoms.get_kinetic_energy() / len(atoms)
print(json.dumps([list(forces.shape), str(forces.dtype), drift, kinetic, still]))
"""


PAGE = (DOCS / "deploy_python.md").read_text(encoding="utf-8")


def test_examples_run(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    made = shared_demo(shared_folder(tmp_path_factory), "float32")
    shutil.copy(made, tmp_path / "potential.tvmeq")
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    code = "import sys; sys.modules['torch'] = None\n" + "".join(examples)
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
    shown = re.findall(r"^    (.*)", PAGE, re.MULTILINE)
    assert lines[1:8] == [line for line in shown if line.startswith("  ")][:7]
    shape, dtype, drift, kinetic, loaded = json.loads(lines[-1])
    assert (shape, dtype, loaded) == ([5, 3], "float32", [])
    assert abs(drift) < 1e-3 * kinetic
