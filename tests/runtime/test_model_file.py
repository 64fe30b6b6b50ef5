"""Kernels, programs and tensors of torch, as a model file has them and back."""

import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runtime.conftest import make
from tvm_equi.deploy.container import read
from tvm_equi.deploy.libraries import kernel_name
from tvm_equi.deploy.manifest import Value
from tvm_equi.deploy.safetensors import Tensor
from tvm_equi.errors import ArtifactError
from tvm_equi.runtime.compiled import CompiledKernel, CompiledProgram, Library
from tvm_equi.runtime.model_file import (
    Content,
    described,
    installed_versions,
    read_content,
    save_model,
    stored_tensor,
    torch_tensor,
)

V3, GPUS = "x86-64-v3", "sm_80,sm_90"
KERNEL = make("row")
CPU_CODE, GPU_CODE, OTHER, PROGRAM = (Library.of(c) for c in (b"cpu", b"gpu", b"other", b"program"))

CONTENT = Content(
    "float32",
    1,
    (described(V3), described(GPUS)),
    (
        CompiledKernel(KERNEL.key(), "float32", V3, CPU_CODE),
        CompiledKernel(KERNEL.key(), "float32", GPUS, GPU_CODE),
    ),
    (KERNEL.plan(),),
    (
        CompiledProgram(
            "main",
            (Value("x", "float32", ("nodes", 3)),),
            (Value("energy", "float32", ()),),
            ("shift", "constant"),
            {V3: PROGRAM},
            {V3: (CPU_CODE, OTHER)},
        ),
    ),
    {"shift": torch.tensor([0.5]), "constant": torch.tensor(3)},
    '{"é": 1}',
)


def equal(one: Content, other: Content) -> bool:
    assert one.parameters.keys() == other.parameters.keys()
    for name, value in one.parameters.items():
        torch.testing.assert_close(value, other.parameters[name], rtol=0, atol=0)
    return replace(one, parameters={}) == replace(other, parameters={})


def test_saved_and_read(tmp_path: Path) -> None:
    path = save_model(tmp_path / "model.tvmeq", CONTENT)
    found = read_content(read(path))
    assert equal(found, replace(CONTENT, versions=installed_versions()))
    assert found.kernels[0].library is found.programs[0].kernels[V3][0]  # one section, held once
    again = save_model(tmp_path / "again.tvmeq", found)
    assert again.read_bytes() == path.read_bytes()


def test_sections_are_named_as_kernels_are_called(tmp_path: Path) -> None:
    container = read(save_model(tmp_path / "model.tvmeq", CONTENT))
    names = {
        f"kernels/{target}/{library.sha256[:32]}.so"
        for target, library in ((V3, CPU_CODE), (V3, OTHER), ("sm_80-sm_90", GPU_CODE))
    }
    assert set(container.sections) == names | {
        "graph.json",
        "parameters.safetensors",
        "programs/main/x86-64-v3.so",
    }
    assert kernel_name(OTHER.sha256).removeprefix("tvm_equi.kernel.") in "".join(names)
    (program,) = container.manifest.programs
    assert program.kernels[V3][0] == container.manifest.kernels[0].libraries[V3]  # once in the file


def test_the_least_content(tmp_path: Path) -> None:
    content = Content("float64", 0, (described("host"),), versions={"tvm_equi": "9"})
    container = read(save_model(tmp_path / "model.tvmeq", content))
    assert not container.sections
    assert read_content(container) == content


def test_targets() -> None:
    assert described(GPUS).architectures == ("sm_80", "sm_90")
    assert described("host").machine == platform.machine()
    assert described("x86-64-v2").machine == "x86_64"
    assert "avx2" in described(V3).features
    assert set(described("x86-64-v2").features) < set(described(V3).features)


def test_a_kernel_without_code_for_a_target(tmp_path: Path) -> None:
    content = replace(CONTENT, kernels=CONTENT.kernels[:1], programs=())
    with pytest.raises(ArtifactError, match="libraries: expected one for 'sm_80,sm_90', got none"):
        save_model(tmp_path / "model.tvmeq", content)


def test_a_plan_without_its_kernel(tmp_path: Path) -> None:
    content = replace(CONTENT, kernels=())
    with pytest.raises(
        ArtifactError, match=r"plans\[0\]: passes\[0\]: kernel: expected the key of"
    ):
        save_model(tmp_path / "model.tvmeq", content)


def test_a_program_with_a_parameter_that_is_missing(tmp_path: Path) -> None:
    content = replace(CONTENT, parameters={"shift": torch.ones(1)})
    with pytest.raises(
        ArtifactError, match=r"main: parameters: expected a tensor of para.*constant"
    ):
        save_model(tmp_path / "model.tvmeq", content)


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
    ],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors(dtype: str, shape: tuple[int, ...]) -> None:
    value = torch.randint(0, 2, shape).to(getattr(torch, dtype))
    stored = stored_tensor(value.requires_grad_(value.is_floating_point()))
    assert (stored.dtype, stored.array.shape) == (dtype, shape)
    found = torch_tensor(stored)
    assert found.dtype == value.dtype
    assert torch.equal(found, value)


def test_tensors_are_contiguous_and_own_their_memory() -> None:
    value = torch.arange(6.0).reshape(2, 3).T
    assert stored_tensor(value).array.flags.c_contiguous
    assert stored_tensor(torch._neg_view(value)).array[2, 1] == -5
    array = np.arange(3, dtype=np.float32)
    array.flags.writeable = False
    found = torch_tensor(Tensor("float32", array))
    found += 1
    assert array[0] == 0


def test_tensors_that_have_no_form() -> None:
    for value in (
        torch.zeros(1, dtype=torch.complex64),
        torch.zeros(1, dtype=torch.float8_e4m3fn),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(1, device="meta"),
    ):
        with pytest.raises(ArtifactError, match="save: parameters"):
            save_model("never.tvmeq", replace(CONTENT, parameters={"z": value}))


def test_a_graph_that_is_no_text(tmp_path: Path) -> None:
    container = read(save_model(tmp_path / "model.tvmeq", CONTENT))
    start = container.sections["graph.json"].offset
    data = bytearray(container.data)
    data[start] = 0xFF
    broken = replace(container, data=memoryview(bytes(data)))
    with pytest.raises(ArtifactError, match=r"graph\.json: expected UTF-8"):
        read_content(broken)
