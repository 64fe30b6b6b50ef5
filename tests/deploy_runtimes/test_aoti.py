"""A model with forces in C++: package, library and program, no Python in the process.

The same model as an exported program in a fresh process of Python.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.deploy_runtimes.aoti import (
    ROOT,
    SMALL,
    captured,
    clean_environment,
    page,
    reference,
    run,
    run_python,
)
from tvm_equi.demo.structures import Structure, structure_of
from tvm_equi.export.pt2 import KERNELS, package_plans

pytestmark = pytest.mark.deploy

TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page(tmp_path_factory)


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    return folder / "model.pt2"


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return folder / "build" / "energy"


def write_structure(path: Path) -> Structure:
    """A shaken crystal of three elements: a file, and the inputs of a model."""
    from ase.build import bulk

    atoms = bulk("C", "diamond", a=3.567, cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=1)
    atoms.numbers[:] = np.random.default_rng(2).choice([1, 6, 8], len(atoms))
    lines = [f"{len(atoms)} {' '.join(repr(float(x)) for x in atoms.cell.lengths())}"]
    for atom in atoms:
        lines.append(f"{atom.symbol} {' '.join(repr(float(x)) for x in atom.position)}")
    path.write_text("\n".join(lines) + "\n")
    return structure_of("crystal", atoms, SMALL.cutoff)


def expected(structure: Structure) -> tuple[torch.Tensor, torch.Tensor]:
    """Energy and forces with e3nn, in float64."""
    inputs = structure.inputs()
    positions = inputs["positions"].clone().requires_grad_()
    energy = reference()(**(inputs | {"positions": positions}))
    return energy.detach(), -torch.autograd.grad(energy.sum(), positions)[0]


def test_energy_and_forces_in_cpp(package: Path, program: Path, tmp_path: Path) -> None:
    structure = write_structure(tmp_path / "crystal.txt")
    done = run([str(program), str(package), str(tmp_path / "crystal.txt")])
    assert done.returncode == 0, done.stderr
    energy, *forces = [line.split() for line in done.stdout.splitlines()]
    found = torch.tensor([[float(x) for x in line[2:]] for line in forces], dtype=torch.float64)
    wanted_energy, wanted_forces = expected(structure)
    assert wanted_forces.abs().max() > 0.1
    assert abs(float(energy[1]) - float(wanted_energy)) < TOLERANCE
    torch.testing.assert_close(found, wanted_forces, atol=TOLERANCE, rtol=0)


def test_the_program_has_no_python_and_no_compiler(program: Path) -> None:
    linked = run(["ldd", str(program)]).stdout
    names = {line.split()[0] for line in linked.splitlines()}
    assert {"libtorch_cpu.so", "libtvm_equi_torch.so", "libtvm_ffi.so"} <= names
    assert "libtvm_runtime.so" in names
    assert not [name for name in names if "python" in name or "compiler" in name]


def test_errors_of_the_program(package: Path, program: Path, tmp_path: Path) -> None:
    write_structure(tmp_path / "crystal.txt")
    text = (tmp_path / "crystal.txt").read_text().replace("C ", "Xx ", 1)
    (tmp_path / "unknown.txt").write_text(text)
    done = run([str(program), str(package), str(tmp_path / "unknown.txt")])
    assert done.returncode == 1
    assert "expected one of H C O, got Xx" in done.stderr
    # A package without its kernels says what is missing; a file in the environment has them.
    bare = tmp_path / "bare.pt2"
    with zipfile.ZipFile(package) as whole, zipfile.ZipFile(bare, "w") as part:
        for entry in whole.infolist():
            if not entry.filename.endswith(KERNELS):
                part.writestr(entry, whole.read(entry))
    command = [str(program), str(bare), str(tmp_path / "crystal.txt")]
    done = run(command)
    assert done.returncode == 1
    assert "tvm_equi::" in done.stderr
    assert "expected a file with its kernels for float64, got none" in done.stderr
    with_kernels = run(command, TVM_EQUI_ARTIFACTS=str(package))
    assert with_kernels.returncode == 0, with_kernels.stderr


def test_package_in_a_fresh_python(folder: Path, package: Path) -> None:
    library = folder / "ops" / "lib" / "libtvm_equi_torch.so"
    code = """
import sys, torch
torch.ops.load_library(sys.argv[1])
model = torch._inductor.aoti_load_package(sys.argv[2])
for nodes, edges in ((5, 40), (1, 2), (3, 0), (40, 3000)):
    index = torch.randint(0, nodes, (2, edges))
    species = torch.nn.functional.one_hot(torch.arange(nodes) % 3, 3).double()
    inputs = [torch.rand(nodes, 3).double(), species, *index, torch.rand(edges, 3).double() + 0.5]
    energy, gradient = model(*inputs)
    assert energy.shape == (1,) and gradient.shape == (nodes, 3)
    assert energy.isfinite().all() and gradient.isfinite().all()
    # A rotation of everything turns the gradient.
    turn = torch.linalg.qr(torch.randn(3, 3).double())[0]
    turned = [inputs[0] @ turn, *inputs[1:4], inputs[4] @ turn]
    energy_turned, gradient_turned = model(*turned)
    torch.testing.assert_close(energy_turned, energy)
    torch.testing.assert_close(gradient_turned, gradient @ turn)
assert not [name for name in sys.modules if name.split(".")[0] in ("tvm", "tvm_equi")]
print("ran")
"""
    assert run_python(code, str(library), str(package)) == "ran\n"


def test_exported_program_in_a_fresh_python(tmp_path: Path) -> None:
    model = captured()
    torch.export.save(model.program, tmp_path / "program.pt2")
    structure = write_structure(tmp_path / "crystal.txt")
    torch.save(list(structure.inputs().values()), tmp_path / "inputs.pt")
    code = f"""
import sys, torch
sys.path.insert(0, {str(ROOT)!r})
import tvm_equi.runtime.convolution  # the operators; compiled from the plans in the program
program = torch.export.load(sys.argv[1] + "/program.pt2")
energy, gradient = program.module()(*torch.load(sys.argv[1] + "/inputs.pt"))
torch.save([energy, -gradient], sys.argv[1] + "/found.pt")
"""
    run_python(code, str(tmp_path), **clean_environment())
    for found, wanted in zip(torch.load(tmp_path / "found.pt"), expected(structure), strict=True):
        torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)


def test_plans_of_a_package(package: Path) -> None:
    plans = package_plans(package)
    assert len(plans) == len(set(plans)) > 5
    assert any(" " in plan for plan in plans), "derivatives are among them"
