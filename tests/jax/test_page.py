"""The page about JAX works when pasted: its examples run, one after another, in a fresh process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.deploy

PAGE = Path(__file__).parents[2] / "docs" / "deploy_jax.md"
CHECKS = """
assert np.isfinite(value) and forces.shape == (8, 3) and float(abs(forces).max()) > 0
assert set(step) == set(parameters) and all(np.isfinite(p).all() for p in parameters.values())
assert out.shape == (5, 64) and hessian.shape == (3, 3) and float(abs(hessian).max()) > 0
assert np.allclose(energies[0], energy(parameters, atoms["positions"]), rtol=1e-4)
"""


def test_examples_run(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 4
    program = tmp_path / "page.py"
    program.write_text("\n".join([*examples, CHECKS]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
