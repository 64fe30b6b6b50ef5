"""Candidates are checked, then timed in turns."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tvm import rpc

from tests.artifact.test_embed import KERNEL as GPU_KERNEL
from tests.artifact.test_embed import driver, library  # noqa: F401 (fixtures)
from tests.kernels import kinds, product
from tvm_equi.artifact.codegen import compile_point
from tvm_equi.tuning.measure import WrongNumbersError, measure

KINDS = kinds()


@pytest.mark.parametrize("name", ["uvu", "linear gradient", "conv uvu gradient 0"])
def test_times_come_by_place(name: str, tmp_path: Path) -> None:
    kernel = KINDS[name]
    paths = [tmp_path / "a.so", tmp_path / "b.so"]
    for path, lanes in zip(paths, (4, 8), strict=True):
        compile_point(kernel, "float32", "x86-64-v3", {"lanes": lanes}, path)
    times = measure(rpc.LocalSession(), paths, kernel.plan(), "float32", 300, 0.0, 3)
    assert [len(each) for each in times] == [3, 3]
    assert all(0 < seconds < 1 for each in times for seconds in each)


def test_wrong_numbers_are_not_timed(tmp_path: Path) -> None:
    """The library of a kernel whose path has another weight."""
    path = tmp_path / "a.so"
    compile_point(KINDS["uvu loop"], "float32", "x86-64-v3", {}, path)
    other = product(v=3, weight_rows="row")
    form = other.contractions[0]
    paths = tuple(replace(each, scale=2 * each.scale) for each in form.paths)
    wrong = replace(other, contractions=(replace(form, paths=paths), *other.contractions[1:]))
    with pytest.raises(WrongNumbersError, match="expected values within 1e-05 of the oracle"):
        measure(rpc.LocalSession(), [path], wrong.plan(), "float32", 300, 0.0)


ASK = """
import json, sys
from tvm_equi.tuning.helper import _answer, _State
print(json.dumps(_answer(_State(), json.loads(sys.argv[1]))))
"""


def test_a_gpu_is_asked_and_its_numbers_are_checked(
    driver: Path,  # noqa: F811
    library: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """On a driver that launches nothing the outputs stay NaN."""
    log = tmp_path / "log"
    request = {"do": "measure", "libraries": [str(library)], "plan": GPU_KERNEL.plan()}
    request |= {"dtype": "float32", "rows": 64, "seconds": 0.0, "device": "cuda"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(request)],
        env=os.environ | {"LD_LIBRARY_PATH": str(driver), "FAKE_CUDA_LOG": str(log)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert not answer["is_lost"]
    assert "of the oracle's, got a relative difference of inf" in answer["error"]
    assert "launch tvm_equi_kernel_kernel" in log.read_text()
