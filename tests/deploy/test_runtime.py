"""TVM's runtime library is found, loaded once, and given threads that survive a fork."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_equi.deploy import runtime
from tvm_equi.errors import ArgumentError

LOAD = "import tvm_equi.deploy.runtime as r; r.load_runtime()"
SHOW = "from tvm_equi.deploy.runtime import {0}; print({0}())"


def answer(code: str, **variables: str) -> str:
    """What code prints in a process of its own, without torch, or its error's last line."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['torch'] = None; {code}"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )
    return (done.stdout or done.stderr).strip().splitlines()[-1]


def test_it_comes_from_the_tvm_package_without_its_import() -> None:
    path = runtime.find_runtime()
    assert path is not None
    assert path.parts[-3:] == ("tvm", "lib", runtime.LIBRARY)
    code = "import sys; from tvm_equi.deploy.runtime import load_runtime; load_runtime()"
    assert answer(f"{code}; print([m for m in ('tvm', 'e3nn') if m in sys.modules])") == "[]"


def test_the_variable_counts_first(tmp_path: Path) -> None:
    real = runtime.find_runtime()
    assert real is not None
    there = tmp_path / runtime.LIBRARY
    there.write_bytes(real.read_bytes())
    load = "import tvm_equi.deploy.runtime as r; r.load_runtime(); print(r.find_runtime())"
    for value in (tmp_path, there):
        assert answer(load, TVM_EQUI_RUNTIME=str(value)) == str(there)


def test_a_runtime_that_is_loaded_already_is_used() -> None:
    code = "import tvm; import tvm_equi.deploy.runtime as r; r.load_runtime(); print('used')"
    assert answer(code, TVM_EQUI_RUNTIME="/nowhere") == "used"


def test_a_folder_without_it() -> None:
    assert answer(
        "import tvm_equi.deploy.runtime as r; r.load_runtime()", TVM_EQUI_RUNTIME="/"
    ) == (
        "tvm_equi.errors.ArtifactError: load: TVM_EQUI_RUNTIME: expected libtvm_runtime.so or a "
        "folder that has it, got '/'"
    )


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / runtime.LIBRARY
    path.write_bytes(b"no library")
    found = answer(
        "import tvm_equi.deploy.runtime as r; r.load_runtime()", TVM_EQUI_RUNTIME=str(path)
    )
    start = f"tvm_equi.errors.ArtifactError: load: {path}: expected a runtime that fits this"
    assert found.startswith(start)


def test_none_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(runtime.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert runtime.find_runtime() is None
    advice = runtime._advice(None, OSError("none"))
    assert advice.startswith("load: expected libtvm_runtime.so, got none; set TVM_EQUI_RUNTIME to")


def test_default_threads() -> None:
    show = SHOW.format("default_threads")
    clear = {"TVM_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
    assert answer(show, **clear) == str(len(os.sched_getaffinity(0)))
    assert answer(show, **clear | {"OMP_NUM_THREADS": "3"}) == "3"
    assert answer(show, TVM_NUM_THREADS="1", OMP_NUM_THREADS="3") == "1"


@pytest.mark.parametrize("text", ["many", "0", "1025", "9" * 5000])
def test_a_number_of_threads_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", text)
    wanted = rf"threads: TVM_NUM_THREADS: expected a number from 1 to 1024, got '{text}'"
    with pytest.raises(ArgumentError, match=wanted):
        runtime.default_threads()
