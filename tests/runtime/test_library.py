"""Libraries load without the compiler; threads follow torch and survive a fork."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tvm_equi.artifact.codegen import build
from tvm_equi.errors import ArtifactError
from tvm_equi.runtime.compiled import Library
from tvm_equi.runtime.library import load_function, load_library
from tvm_equi.runtime.plans import resolve
from tvm_equi.runtime.torch_op import run


def test_loading_needs_no_compiler(plan: str) -> None:
    library = build(resolve(plan), "float64").library
    code = (
        "import sys; from pathlib import Path; from tvm_equi.runtime.library import load_function;"
        f"load_function(Path({str(library)!r})); sys.exit('tvm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "kernel.so"
    path.write_bytes(b"no library")
    with pytest.raises(ArtifactError, match=r"load: kernel\.so: expected a kernel library"):
        load_function(path)


def test_libraries_in_memory(plan: str) -> None:
    library = Library.of(build(resolve(plan), "float64").library.read_bytes())
    assert callable(load_library(library))
    assert load_library(library).same_as(load_library(Library.of(library.data)))
    with pytest.raises(ArtifactError, match=r"expected a library with the function tvm_equi_kern"):
        load_library(Library.of(b"no library"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_after_a_parallel_run(plan: str, inputs: Callable[..., list[torch.Tensor]]) -> None:
    many = inputs(plan, 5000, torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wanted = run(plan, many)[0].numpy()
        child = os.fork()
        if child == 0:  # torch.equal would wait here for workers of OpenMP that the fork has lost
            os._exit(0 if np.array_equal(run(plan, many)[0].numpy(), wanted) else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)
