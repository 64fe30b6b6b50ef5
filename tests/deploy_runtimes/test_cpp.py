"""The demo's potential called from C++: values, threads, errors, the example, what is shipped."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import pytest
import torch

from tests.deploy.programs import write_model
from tests.deploy_runtimes.cpp_build import build, environment, shared_folder
from tests.deploy_runtimes.demo_model import SMALL, eager, shared_demo
from tests.deploy_runtimes.test_cpp_reader import changed
from tvm_equi.demo.run import make_reference
from tvm_equi.demo.structures import Structure, molecule, structure_of
from tvm_equi.deploy import container
from tvm_equi.deploy.manifest import Manifest, ProgramEntry, Value
from tvm_equi.deploy.parts import copy_parts
from tvm_equi.deploy.safetensors import Tensor, write_tensors

pytestmark = pytest.mark.deploy

HERE = Path(__file__).parent
EXAMPLE = HERE.parent.parent / "examples" / "cpp"
TARGET = "x86-64-v3"
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def built(shared: Path) -> Path:
    return build(HERE / "cpp", shared / "cpp_tests")


@pytest.fixture(scope="session")
def model(shared: Path) -> Callable[[str], Path]:
    """Model files by dtype."""

    return partial(shared_demo, shared)


@pytest.fixture(scope="session")
def parts(shared: Path) -> Path:
    """What `tvm-equi runtime` writes."""
    folder = shared / "runtime"
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.exists():
            copy_parts(folder)
    return folder


@pytest.fixture(scope="session")
def example(shared: Path, parts: Path) -> Path:
    """The example, built against these parts, where there is no Python."""
    return build(EXAMPLE, shared / "cpp_example", parts / "lib" / "cmake" / "tvm_equi")


def write_data(path: Path, structure: Structure, dtype: str) -> Path:
    """Inputs, and what e3nn gives in float64."""
    energy, forces = eager(make_reference(SMALL), structure)
    inputs = structure.to(getattr(torch, dtype)).inputs()
    expected = {"expected.energy": energy, "expected.d_positions": -forces}
    tensors = {
        name: Tensor(str(value.dtype).removeprefix("torch."), value.numpy())
        for name, value in (inputs | expected).items()
    }
    path.write_bytes(write_tensors(tensors))
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_calls(built: Path, model: Callable[[str], Path], dtype: str, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.safetensors", molecule(SMALL.cutoff), dtype)
    (other,) = TOLERANCE.keys() - {dtype}
    command = [built / "calls", model(dtype), data, model(other)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    errors = json.loads(done.stdout)
    assert max(errors.values()) < TOLERANCE[dtype], errors


def test_outputs_are_the_callers(built: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.tvmeq")
    done = subprocess.run([built / "outputs", model], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def methanol() -> Structure:
    """The atoms of the example."""
    from ase.io import read

    atoms = read(EXAMPLE / "methanol.xyz")
    atoms.center(vacuum=2 * SMALL.cutoff)
    return structure_of("methanol", atoms, SMALL.cutoff)


def check_example(program: Path, path: Path, *arguments: str) -> None:
    """Compares what the example prints with e3nn."""
    command = [program, path, EXAMPLE / "methanol.xyz", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["energy", *["force"] * 6]
    energy, forces = eager(make_reference(SMALL), methanol())
    assert float(lines[0][1]) == pytest.approx(float(energy), rel=1e-5)
    found = torch.tensor([[float(text) for text in line[1:]] for line in lines[1:]])
    torch.testing.assert_close(found.double(), forces, rtol=1e-5, atol=1e-5)


def test_example(example: Path, model: Callable[[str], Path], tmp_path: Path) -> None:
    check_example(example / "potential", model("float32"))
    check_example(example / "potential", model("float32"), "2")
    for arguments, text in (
        ([], "usage: potential MODEL"),
        (["/none", EXAMPLE / "methanol.xyz"], "load: /none: expected a file that can be read"),
        ([model("float64"), EXAMPLE / "methanol.xyz"], "positions: expected float64, got float32"),
    ):
        command = [example / "potential", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert text in done.stderr


def test_what_is_shipped(example: Path, model: Callable[[str], Path], tmp_path: Path) -> None:
    """A program, two libraries and a model in a folder of their own run, and need nothing more."""
    command = ["cmake", "--install", str(example), "--prefix", str(tmp_path)]
    subprocess.run(command, check=True, env=environment(), capture_output=True)
    check_example(tmp_path / "potential", model("float32"))
    listed = subprocess.run(
        ["ldd", tmp_path / "potential"], capture_output=True, text=True, check=True
    ).stdout
    assert "not found" not in listed
    libraries = {
        line.split()[0].split("/")[-1].split(".so")[0]: line for line in listed.splitlines()
    }
    system = {"linux-vdso", "libstdc++", "libm", "libgcc_s", "libc", "libdl", "libpthread"}
    ours = libraries.keys() - system - {"ld-linux-x86-64"}
    assert ours == {"libtvm_ffi", "libtvm_runtime"}
    assert all(f"=> {tmp_path}/{name}.so" in libraries[name] for name in ours)
    sizes = {path.name: path.stat().st_size / 1e6 for path in tmp_path.iterdir()}
    assert set(sizes) == {"potential", "libtvm_ffi.so", "libtvm_runtime.so"}
    assert sum(sizes.values()) < 10, sizes


def test_missing_runtime(
    example: Path, parts: Path, model: Callable[[str], Path], tmp_path: Path
) -> None:
    """A program that is not linked with TVM's runtime, and finds none."""
    source = tmp_path / "lone.cpp"
    source.write_text(
        "#include <cstdio>\n#include <tvm_equi/tvm_equi.hpp>\n"
        "int main(int, char** a) try { tvm_equi::Model::load(a[1]); }\n"
        'catch (const tvm_equi::Error& e) { std::printf("%s", e.what()); }\n',
        encoding="utf-8",
    )
    shutil.copy2(parts / "lib" / "libtvm_ffi.so", tmp_path)
    command = ["g++", "-std=c++17", "-O0", f"-I{parts / 'include'}", str(source), "-o"]
    command += [str(tmp_path / "lone"), f"-L{tmp_path}", "-ltvm_ffi", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run(command, check=True)

    def said(variables: dict[str, str]) -> str:
        done = subprocess.run(
            [tmp_path / "lone", model("float32")], capture_output=True, text=True, env=variables
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "load: expected libtvm_runtime.so of TVM, got none (" in said({})
    assert "set TVM_EQUI_RUNTIME to the folder that has it" in said({})
    assert "/none/libtvm_runtime.so" in said({"TVM_EQUI_RUNTIME": "/none"})
    assert said({"TVM_EQUI_RUNTIME": str(parts / "lib")}) == ""


def rewritten(path: Path, source: Path, change: Callable[[Manifest], Manifest]) -> Path:
    """A model file with another manifest."""
    held = container.read(source)
    sections = {name: bytes(held.section(name)) for name in held.sections}
    return container.write(path, change(held.manifest), sections)


def of_program(change: Callable[[ProgramEntry], ProgramEntry]) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, programs=(change(manifest.programs[0]),))


def with_value(values: tuple[Value, ...], number: int, **fields: object) -> tuple[Value, ...]:
    changed = replace(values[number], **fields)  # type: ignore[arg-type]
    return (*values[:number], changed, *values[number + 1 :])


LIES = {
    "columns": lambda p: replace(p, inputs=with_value(p.inputs, 0, shape=("nodes", 4))),
    "dimensions": lambda p: replace(p, inputs=with_value(p.inputs, 0, shape=("nodes",))),
    "dtype": lambda p: replace(p, inputs=with_value(p.inputs, 0, dtype="float64")),
    "index dtype": lambda p: replace(p, inputs=with_value(p.inputs, 2, dtype="int32")),
    "sizes": lambda p: replace(p, inputs=with_value(p.inputs, 3, shape=("nodes",))),
    "more inputs": lambda p: replace(p, inputs=(*p.inputs, Value("more", "float32", (1,)))),
    "fewer inputs": lambda p: replace(p, inputs=p.inputs[:-1]),
    "no inputs": lambda p: replace(p, inputs=()),
    "order": lambda p: replace(p, inputs=p.inputs[::-1]),
    "parameters": lambda p: replace(p, parameters=p.parameters[::-1]),
    "fewer parameters": lambda p: replace(p, parameters=p.parameters[1:]),
    "same parameter": lambda p: replace(p, parameters=p.parameters[:1] * len(p.parameters)),
    "output shape": lambda p: replace(p, outputs=with_value(p.outputs, 1, shape=("edges", 3))),
    "output dtype": lambda p: replace(p, outputs=with_value(p.outputs, 0, dtype="float64")),
    "more outputs": lambda p: replace(p, outputs=(*p.outputs, Value("more", "float32", ()))),
    "fewer outputs": lambda p: replace(p, outputs=p.outputs[:1]),
    "no kernels": lambda p: replace(p, kernels={TARGET: ()}),
    "kernel for program": lambda p: replace(p, libraries={TARGET: p.kernels[TARGET][0]}),
    "program for kernel": lambda p: replace(p, kernels={TARGET: (p.libraries[TARGET],)}),
    "no library": lambda p: replace(p, libraries={TARGET: "parameters.safetensors"}),
}


def test_manifest_that_lies(built: Path, model: Callable[[str], Path], tmp_path: Path) -> None:
    """Everything is checked again where it is used: an error, whatever the caller believes."""
    sizes = ["nodes=6", "edges=20", "--seconds", "0"]
    for name, lie in LIES.items():
        path = rewritten(tmp_path / "lie.tvmeq", model("float32"), of_program(lie))
        done = subprocess.run([built / "measure", path, *sizes], capture_output=True, text=True)
        assert done.returncode == 1, f"{name}: {done.stdout} {done.stderr}"
        assert done.stderr.startswith(f"error: load: {path}: "), f"{name}: {done.stderr}"
        if name in ("kernel for program", "program for kernel", "no library"):
            assert "; compiled with apache-tvm 0.27" in done.stderr


def test_parameters_are_checked_where_none_is_used(
    built: Path, model: Callable[[str], Path], tmp_path: Path
) -> None:
    unused = of_program(lambda program: replace(program, parameters=()))
    path = rewritten(tmp_path / "unused.tvmeq", model("float32"), unused)
    held = container.read(path)
    place = held.sections["parameters.safetensors"]
    data = bytearray(path.read_bytes())
    data[place.offset : place.offset + 8] = b"\xff" * 8  # the size of the tensors' header
    digest = hashlib.sha256(data[place.offset : place.offset + place.size]).hexdigest()

    def change(fields: dict[str, Any]) -> None:
        (entry,) = (each for each in fields["sections"] if each["name"] == place.name)
        entry["sha256"] = digest

    path.write_bytes(changed(bytes(data), change))
    done = subprocess.run([built / "measure", path], capture_output=True, text=True)
    assert done.returncode == 1
    assert "parameters.safetensors: header: expected at most " in done.stderr


def test_other_machine(built: Path, model: Callable[[str], Path], tmp_path: Path) -> None:
    def change(manifest: Manifest) -> Manifest:
        targets = (replace(manifest.targets[0], features=("not_of_this_cpu",)),)
        return replace(manifest, targets=targets)

    path = rewritten(tmp_path / "other.tvmeq", model("float32"), change)
    done = subprocess.run([built / "measure", path], capture_output=True, text=True)
    assert done.returncode == 1
    assert "target: expected one that this CPU runs, got x86-64-v3" in done.stderr
    assert "not_of_this_cpu" in done.stderr


def test_measure(built: Path, model: Callable[[str], Path], tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.safetensors", molecule(SMALL.cutoff), "float32")
    for arguments in (["--inputs", data], ["nodes=6", "edges=20", "--threads", "2"]):
        command = [built / "measure", model("float32"), "--seconds", "0.05", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["target"] == TARGET
        assert 0 < found["calls"]["lower_quartile"] <= found["calls"]["median"] < found["load"] + 1
