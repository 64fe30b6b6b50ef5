"""Packages: plans that they call, kernels put into them, and what is refused.

Packages that AOTInductor makes are in `tests/deploy_runtimes/test_aoti.py`.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.kernels import linear
from tvm_equi.deploy.container import decode, read
from tvm_equi.errors import ArgumentError, ArtifactError, UnsupportedError
from tvm_equi.export import pt2 as module
from tvm_equi.export.capture import Captured, capture
from tvm_equi.export.pt2 import KERNELS, add_kernels, package_plans, pt2

PLAN = linear().plan()
FOLDER = "model/data/aotinductor/model"


def call(plan: str, target: str = "tvm_equi::run") -> dict[str, Any]:
    inputs = [
        {"name": "inputs", "arg": {"as_tensors": [{"name": "x"}]}},
        {"name": "plan", "arg": {"as_string": plan}},
    ]
    return {"name": "buf1", "node": {"target": target, "inputs": inputs}}


def write_package(path: Path, metadata: str = '{"model_dtype": "float64"}') -> Path:
    """A package in AOTInductor's form, with a file that nequip adds outside of its folders."""
    nodes = [call(PLAN), call(PLAN, "tvm_equi::run.default"), call("x", "other::run")]
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(f"{FOLDER}/abc.wrapper.json", json.dumps({"nodes": nodes}))
        package.writestr(f"{FOLDER}/abc.wrapper_metadata.json", metadata)
        package.writestr(f"{FOLDER}/abc.wrapper.so", b"\x7fELF")
        package.writestr("model/archive_format", "pt2")
        package.writestr("libraries.txt", "tvm_equi")
    return path


def kernels_in(path: Path) -> Any:
    with zipfile.ZipFile(path) as package:
        (name,) = [name for name in package.namelist() if name.endswith(KERNELS)]
        assert name == f"{FOLDER}/{KERNELS}"
        assert package.getinfo(name).compress_type == zipfile.ZIP_STORED
        return decode("kernels", package.read(name)).manifest


def test_kernels_are_put_in(tmp_path: Path) -> None:
    path = write_package(tmp_path / "model.pt2")
    assert package_plans(path) == [PLAN]
    assert add_kernels(path) == path
    manifest = kernels_in(path)
    assert [entry.plan for entry in manifest.plans] == [PLAN]
    assert [entry.dtype for entry in manifest.kernels] == ["float64"]
    first = path.read_bytes()
    add_kernels(path)  # takes the place of what is there
    assert path.read_bytes() == first
    add_kernels(path, dtype=["float32", "float64"], target=["x86-64-v2", "x86-64-v3"])
    manifest = kernels_in(path)
    assert sorted(entry.dtype for entry in manifest.kernels) == ["float32", "float64"]
    assert [target.name for target in manifest.targets] == ["x86-64-v2", "x86-64-v3"]
    with zipfile.ZipFile(path) as package:
        assert package.testzip() is None
        assert len(package.namelist()) == 6
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt2"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "float16"}, ArgumentError, "dtype: expected float32 or float64, got 'float16'"),
        ({"target": "sm_90"}, ArgumentError, "target: expected host or an x86-64 level"),
        ({"target": "z80"}, ArgumentError, "z80"),
    ],
)
def test_refused(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = write_package(tmp_path / "model.pt2")
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        add_kernels(path, **options)
    assert path.read_bytes() == before


def test_files_that_are_no_packages(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected a \.pt2 file, got"):
        add_kernels(tmp_path / "missing.pt2")
    (tmp_path / "text.pt2").write_text("text")
    with pytest.raises(ArtifactError, match=r"expected a \.pt2 file, got"):
        package_plans(tmp_path / "text.pt2")
    with zipfile.ZipFile(tmp_path / "zip.pt2", "w") as other:
        other.writestr("data/weights", "x")
    with pytest.raises(ArtifactError, match="expected a package of AOTInductor"):
        package_plans(tmp_path / "zip.pt2")
    with pytest.raises(ArgumentError, match=r"dtype: .* got none, and model\.pt2 does not say"):
        add_kernels(write_package(tmp_path / "model.pt2", "{}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON, got: Expecting property name"),
        ('{"nodes": [1]}', "expected AOTInductor's lists of operators, got others: TypeError"),
        ('{"nodes": [{"node": {}}]}', "expected AOTInductor's lists of operators, got others: Key"),
    ],
)
def test_packages_of_another_form(text: str, message: str, tmp_path: Path) -> None:
    path = write_package(tmp_path / "model.pt2", text)
    with pytest.raises(ArtifactError, match=message):
        add_kernels(path, dtype="float32")


def test_damaged_packages(tmp_path: Path) -> None:
    path = write_package(tmp_path / "model.pt2")
    data = bytearray(path.read_bytes())
    data[data.index(b"as_string")] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.pt2: expected a \.pt2 file, got: Bad CRC-32"):
        add_kernels(path)
    assert path.read_bytes() == data


def test_files_beside_the_models(tmp_path: Path) -> None:
    path = write_package(tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a") as package:
        package.writestr("model/data/aotinductor/versions", "1")
    assert [entry.name for entry in kernels_in(add_kernels(path)).targets] == ["host"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt2"]


class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.tvm_equi.run([x, x.new_ones(33 * 20)], PLAN)[0]


@pytest.fixture(scope="module")
def captured() -> Captured:
    return capture(Double(), {"x": torch.rand(4, 99)}, {"x": ("rows", 99)}, ["y"])


@pytest.mark.parametrize("target", [None, "x86-64-v3"])
def test_what_aotinductor_is_given(
    target: str | None, captured: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def compile(program: Any, *, package_path: str, inductor_configs: dict[str, Any]) -> str:
        given.update(inductor_configs, program=program)
        write_package(Path(package_path))
        return package_path

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compile)
    path = pt2(captured, tmp_path / "new" / "m.pt2", target=target, options={"max_autotune": True})
    assert given.pop("program") is captured.program
    flags = {} if target is None else {"cpp.march": "x86-64-v3", "cpp.simdlen": 256}
    assert given == flags | {"max_autotune": True}
    assert [entry.name for entry in kernels_in(path).targets] == [target or "host"]


def test_pt2_refuses(captured: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"path: expected one that ends in \.pt2"):
        pt2(captured, tmp_path / "model.pt")
    with pytest.raises(ArgumentError, match="target: expected host or an x86-64 level"):
        pt2(captured, tmp_path / "model.pt2", target="sm_90")
    with pytest.raises(ArgumentError, match="target: expected one"):
        pt2(captured, tmp_path / "model.pt2", target="x86-64-v2,x86-64-v3")

    def fail(program: Any, **options: Any) -> str:
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    with pytest.raises(ArtifactError, match="expected AOTInductor to compile, got: no working C"):
        pt2(captured, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(module, "_can_cross_compile", lambda: False)
    with pytest.raises(UnsupportedError, match="target: expected 'host' with torch"):
        pt2(captured, tmp_path / "model.pt2", target="x86-64-v3")


def test_read_is_what_cpp_reads(tmp_path: Path) -> None:
    path = write_package(tmp_path / "model.pt2")
    add_kernels(path)
    with zipfile.ZipFile(path) as package:
        (tmp_path / "k.tvmeq").write_bytes(package.read(f"{FOLDER}/{KERNELS}"))
    assert read(tmp_path / "k.tvmeq").manifest == kernels_in(path)
