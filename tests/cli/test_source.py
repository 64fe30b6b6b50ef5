"""How a source is read: graphs, modules, and errors in one line."""

from pathlib import Path

import pytest

from tvm_equi.cli.source import check_dtype, read_source
from tvm_equi.errors import ArgumentError, UnsupportedError


def test_a_function_is_called_and_a_module_is_not(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text(
        "import tvm_equi\nmodule = tvm_equi.Linear('2x0e', '0e')\ndef make():\n    return module\n"
    )
    for name in ("make", "module"):
        assert type(read_source(f"{path}:{name}")).__name__ == "Linear"


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "other.py"
    path.write_text("import no_such_module\n")
    with pytest.raises(UnsupportedError, match="expected its imports, got: No module named"):
        read_source(f"{path}:x")
    with pytest.raises(ArgumentError, match="expected a Python file"):
        read_source(f"{tmp_path}/missing.py:x")
    with pytest.raises(ArgumentError, match="--dtype: expected float32 or float64, got 'int8'"):
        check_dtype("int8")
