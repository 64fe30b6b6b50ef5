"""The package as a whole: a test for every module, public names that resolve, a light import."""

import subprocess
import sys
from pathlib import Path

import pytest

import tvm_equi

ROOT = Path(__file__).parent.parent


def test_every_module_has_a_test() -> None:
    modules = [path.relative_to(ROOT / "tvm_equi") for path in ROOT.glob("tvm_equi/**/*.py")]
    wanted = [path.with_name(f"test_{path.name}") for path in modules if path.stem != "__init__"]
    missing = [str(path) for path in sorted(wanted) if not (ROOT / "tests" / path).is_file()]
    assert not missing, f"missing in tests/: {missing}"


@pytest.mark.parametrize("name", tvm_equi.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(tvm_equi, name).__name__ == name
    assert name in dir(tvm_equi)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'tvm_equi' has no attribute 'TensorProducts'"):
        tvm_equi.TensorProducts  # noqa: B018


def test_without_torch_it_says_what_runs() -> None:
    code = "import sys; sys.modules['torch'] = None; import tvm_equi; tvm_equi.load"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: tvm_equi.load: expected torch, got none; pip install torch, or run a "
        "compiled model without it: tvm_equi.deploy.load"
    )


def test_import_loads_neither_torch_nor_tvm() -> None:
    code = "import sys, tvm_equi; print([m for m in ('torch', 'e3nn', 'tvm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr
