"""The command line as a module."""

import subprocess
import sys


def test_python_m() -> None:
    command = [sys.executable, "-m", "tvm_equi.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "inspect" in done.stdout
