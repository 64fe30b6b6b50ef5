from pathlib import Path

import pytest
import tvm_ffi

from tests.relax.test_lower import PLAN
from tvm_equi.artifact.codegen import build
from tvm_equi.errors import ArtifactError
from tvm_equi.relax.kernels import library_name
from tvm_equi.relax.run import register_kernels
from tvm_equi.runtime.plans import resolve


def test_a_kernel_is_found_by_the_name_of_its_bytes() -> None:
    library = build(resolve(PLAN), "float64").library
    register_kernels([library, library])
    assert tvm_ffi.get_global_func(library_name(library.read_bytes())) is not None


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kernel.so"
    path.write_bytes(b"no library")
    with pytest.raises(ArtifactError, match="expected a kernel library"):
        register_kernels([path])
