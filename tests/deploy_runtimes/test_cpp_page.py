"""The page about C++ works when it is pasted into a fresh folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tests.deploy_runtimes.cpp_build import environment, shared_folder
from tests.deploy_runtimes.demo_model import SMALL, eager, shared_demo
from tvm_equi.demo.run import make_reference
from tvm_equi.demo.structures import Structure
from tvm_equi.deploy.parts import copy_parts

pytestmark = pytest.mark.deploy

PAGE = Path(__file__).parents[2] / "docs" / "deploy_cpp.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def water() -> Structure:
    """What the page's program computes."""
    positions = [[0.0, 0, 0], [0.757, 0.586, 0], [-0.757, 0.586, 0]]
    species = torch.tensor([[0.0, 0, 1], [1, 0, 0], [1, 0, 0]])
    senders, receivers = torch.tensor([1, 2, 0, 2, 0, 1]), torch.tensor([0, 0, 1, 1, 2, 2])
    shifts = torch.zeros(6, 3)
    return Structure("water", torch.tensor(positions), species, senders, receivers, shifts)


def test_page(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = shared_demo(shared_folder(tmp_path_factory), "float32")
    shutil.copy2(model, tmp_path / "potential.tvmeq")
    copied, built = blocks("sh")
    assert copied == "tvm-equi runtime -o runtime\n"
    sizes = copy_parts(tmp_path / "runtime")
    for name, size in sizes.items():
        assert f"| `runtime/lib/{name}` | {size / 1e6:.1f} MB |" in PAGE.read_text()
    (tmp_path / "water.cpp").write_text(blocks("cpp")[0], encoding="utf-8")
    (tmp_path / "CMakeLists.txt").write_text(blocks("cmake")[0], encoding="utf-8")
    done = subprocess.run(
        ["sh", "-e", "-c", built], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    lines = [line.split() for line in done.stdout.splitlines()]
    energy, forces = eager(make_reference(SMALL), water())
    found = [float(line[1]) for line in lines if line[0] == "force"]
    assert [float(line[1]) for line in lines if line[0] == "energy"] == pytest.approx(
        energy.tolist(), rel=1e-4
    )
    assert found == pytest.approx(forces.flatten().tolist(), rel=1e-4, abs=1e-5)
