"""Compiled twice, by two processes with nothing in common but the machine: the same file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

SPEC = {
    "tensor_product": {
        "irreps_in1": "4x0e+4x1o",
        "irreps_in2": "0e+1o",
        "irreps_out": "0e+1o",
        "instructions": "channelwise",
    }
}


@pytest.mark.deploy
def test_two_cold_caches(tmp_path: Path) -> None:
    files = []
    for name, jobs in (("one", "1"), ("another/and/deeper", "2")):
        folder = tmp_path / name
        (folder / "tmp").mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps(SPEC))
        variables = {
            "TVM_EQUI_CACHE_DIR": str(folder / "cache"),
            "TVM_EQUI_BUILD_JOBS": jobs,
            "TMPDIR": str(folder / "tmp"),
            "PYTHONHASHSEED": jobs,
        }
        targets = ("x86-64-v2", "x86-64-v4", "sm_90")
        options = [word for target in targets for word in ("--target", target)]
        code = "from tvm_equi.cli.app import main; main()"
        command = [sys.executable, "-c", code, "compile", folder / "model.json", *options]
        done = subprocess.run(
            [*command, "-o", folder / "model.tvmeq", "--derivatives", "1"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | variables,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert list((folder / "cache").rglob("kernel.so"))
        files.append((folder / "model.tvmeq").read_bytes())
    assert files[0] == files[1]
