"""Models compiled from the command line: files for torch, and for runtimes without it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tvm_equi
import tvm_equi.deploy
from tests.cli.test_app import run, spec  # noqa: F401 (a fixture)
from tvm_equi.cli.compile import read_gradients
from tvm_equi.deploy.container import read
from tvm_equi.errors import ArgumentError

SCALED = """
import torch
from tvm_equi import Linear
from tvm_equi.export.capture import capture


class Energy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = Linear("2x0e + 1o", "0e")

    def forward(self, x):
        x = x.detach().requires_grad_()
        energy = self.layer(x).sin().sum().reshape(1)
        (gradient,) = torch.autograd.grad(energy.sum(), x)
        return {"energy": energy, "gradient": gradient}


def model():
    return capture(Energy(), {"x": torch.randn(7, 5)}, {"x": ("nodes", 5)}, ["energy", "gradient"])
"""


def test_a_place_that_cannot_be_written_is_told_before_compiling(
    spec: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tvm_equi, "compile", None)
    for out, message in (
        (tmp_path, "error: save: path: expected a file to write, got the folder"),
        (spec, f"error: save: path: expected a new file or a model file to replace, got {spec}"),
        (tmp_path / "no" / "a.tvmeq", "error: save: path: expected a file that can be written"),
    ):
        assert message in run("compile", spec, "-o", out, code=2)


def test_compile_then_inspect(spec: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "model.tvmeq"
    text = run("compile", spec, "-o", out, "--derivatives", 1, "--gradient", "d_x=out:x")
    assert "TensorProduct" in text
    assert f"{out}:" in text.replace("\n", "")
    manifest = read(out).manifest
    assert (manifest.dtype, manifest.derivatives) == ("float32", 1)
    shown = " ".join(run("inspect", out).split())
    assert "every checksum right" in shown
    assert "float32, derivatives to order 1" in shown
    assert "host x86_64 best here" in shown
    assert "outputs: out" in shown
    assert "-> out: float32[" in shown
    assert "d_x: float32[" in shown
    compiled = tvm_equi.load(out)
    generator = np.random.default_rng(0)
    inputs = {
        value.name: generator.standard_normal([5 if isinstance(n, str) else n for n in value.shape])
        for value in manifest.programs[0].inputs
    }
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
    found = tvm_equi.deploy.load(out)(**inputs)
    given = {name: torch.from_numpy(value) for name, value in inputs.items()}
    given["x"].requires_grad_()
    wanted = compiled(**given)
    (gradient,) = torch.autograd.grad(wanted.sum(), given["x"])
    assert np.allclose(found["out"], wanted.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert np.allclose(found["d_x"], gradient.numpy(), rtol=1e-5, atol=1e-6)
    out.write_bytes(out.read_bytes()[:-1])
    assert "size: expected" in run("inspect", out, code=2)


def test_compile_options(spec: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "model.tvmeq"
    options = ("--derivatives", 0, "--dtype", "float64", "--target", "x86-64-v2", "--no-program")
    run("compile", spec, "-o", out, *options)
    manifest = read(out).manifest
    assert (manifest.dtype, manifest.targets[0].name) == ("float64", "x86-64-v2")
    assert not manifest.programs


def test_compile_for_several_targets(spec: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "model.tvmeq"
    names = ("x86-64-v3", "sm_90", "x86-64-v2", "sm_80")
    targets = [word for name in names for word in ("--target", name)]
    run("compile", spec, "-o", out, "--derivatives", 0, *targets)
    manifest = read(out).manifest
    assert [target.name for target in manifest.targets] == ["x86-64-v3", "x86-64-v2", "sm_80,sm_90"]
    assert set(manifest.programs[0].libraries) == {"x86-64-v3", "x86-64-v2"}
    shown = " ".join(run("inspect", out).split())
    assert "sm_80,sm_90 GPU" in shown
    assert "__global__" in run("inspect", spec, "--asm", "--target", "sm_90")


def test_files_for_gpus_alone_have_no_program(spec: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "model.tvmeq"
    run("compile", spec, "-o", out, "--derivatives", 0, "--target", "sm_90")
    assert not read(out).manifest.programs
    text = run("compile", spec, "-o", out, "--target", "sm_90", "--gradient", "g=out:x", code=2)
    assert "error: compile: target: expected a CPU for a program, got sm_90" in text


def test_a_captured_model(tmp_path: Path) -> None:
    file, out = tmp_path / "scaled.py", tmp_path / "scaled.tvmeq"
    file.write_text(SCALED)
    shown = " ".join(run("compile", f"{file}:model", "-o", out).split())
    assert "no graph" in shown
    assert "main(x: float32[nodes, 5]) -> energy: float32[1], gradient: float32[nodes, 5]" in shown
    program = tvm_equi.load(out)
    values = torch.randn(4, 5)
    scope: dict[str, object] = {}
    exec(SCALED, scope)
    wanted = scope["Energy"]()(values)  # type: ignore[operator]
    found = program(values)
    for name in ("energy", "gradient"):
        assert torch.allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)
    text = run("compile", f"{file}:model", "-o", out, "--dtype", "float64", code=2)
    assert "--dtype, --gradient: expected neither with a captured model" in text


def test_gradients_are_read() -> None:
    assert read_gradients(["f=energy:x", "g=energy:y"]) == {
        "f": ("energy", "x"),
        "g": ("energy", "y"),
    }
    for texts in (["f"], ["f=energy"], ["=energy:x"], ["f=a:b:c"], ["f=a:b", "f=a:c"]):
        with pytest.raises(ArgumentError, match="expected NAME=OUTPUT:INPUT, each name once"):
            read_gradients(texts)


def test_unknown_outputs_are_refused(spec: Path, tmp_path: Path) -> None:  # noqa: F811
    text = run("compile", spec, "-o", tmp_path / "m.tvmeq", "--gradient", "f=energy:x", code=2)
    assert "error: capture: gradients: expected one of 'out', got 'energy'" in text
    assert json.loads(spec.read_text())  # the source is as it was
