"""Small model files with a program that calls one compiled kernel, made with TVM's Relax alone."""

from __future__ import annotations

import hashlib
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.kernels import linear
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.artifact.codegen import build
from tvm_equi.deploy.container import write
from tvm_equi.deploy.libraries import kernel_name
from tvm_equi.deploy.manifest import KernelEntry, Manifest, ProgramEntry, Target, Value
from tvm_equi.deploy.safetensors import Tensor, write_tensors
from tvm_equi.deploy.targets import LEVELS

TARGET = "x86-64-v2"
KERNEL = linear()
ROW, WEIGHTS, OUT = (KERNEL.operand(name).dim for name in (*KERNEL.inputs, *KERNEL.outputs))

INPUTS = (Value("x", "float32", ("rows", ROW)), Value("shift", "float32", ("rows", OUT)))
OUTPUTS = (
    Value("z", "float32", ("rows", OUT)),
    Value("x_again", "float32", ("rows", ROW)),
    Value("weights_again", "float32", (WEIGHTS,)),
    Value("z_again", "float32", ("rows", OUT)),
)


def weights() -> np.ndarray[Any, Any]:
    """The program's parameter."""
    return np.random.default_rng(1).standard_normal(WEIGHTS).astype(np.float32)


def inputs(rows: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Arguments of the program."""
    random = np.random.default_rng(seed)
    shapes = {"x": (rows, ROW), "shift": (rows, OUT)}
    return {name: random.standard_normal(shape).astype("f4") for name, shape in shapes.items()}


def expected(x: np.ndarray[Any, Any], shift: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The output z, in float64."""
    if not len(x):
        return shift.astype(float)
    (product,) = evaluate(KERNEL, [x.astype(float), weights().astype(float)])
    return product + shift


@lru_cache(maxsize=4)
def program_library(kernel: str) -> bytes:
    """A program: z = kernel(x, weights) + shift, two values handed through, and z again."""
    import tvm
    from tvm import relax

    from tvm_equi.relax.pipeline import build as build_module

    rows = tvm.tirx.Var("rows", "int64")
    w, x, shift = (
        relax.Var(name, relax.TensorType(shape, "float32"))
        for name, shape in (("w", (WEIGHTS,)), ("x", (rows, ROW)), ("shift", (rows, OUT)))
    )
    builder = relax.BlockBuilder()
    with builder.function("main", [w, x, shift]):
        with builder.dataflow():
            made = relax.TensorType((rows, OUT), "float32")
            product = builder.emit(relax.call_dps_packed(kernel, (x, w), made))
            z = builder.emit(relax.op.add(product, shift))
            found = builder.emit_output(relax.Tuple([z, x, w, z]))
        builder.emit_func_output(found)
    target = tvm.target.Target({"kind": "llvm", "mcpu": TARGET})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.so"
        build_module(builder.get(), target, "packed", TARGET).export_library(str(path))
        return path.read_bytes()


def write_model(
    path: Path,
    *,
    program: bytes | None = None,
    inputs: tuple[Value, ...] = INPUTS,
    outputs: tuple[Value, ...] = OUTPUTS,
    target: Target | None = None,
    has_kernel: bool = True,
) -> Path:
    """A model file, or one that lies about its program."""
    library = build(KERNEL, "float32", TARGET).library.read_bytes()
    called = kernel_name(hashlib.sha256(library).hexdigest())
    target = target or Target(TARGET, "x86_64", tuple(LEVELS[TARGET].split()))
    names = {"kernel": f"kernels/{target.name}/linear.so", "main": f"programs/{target.name}.so"}
    tensors = {"weights": Tensor("float32", weights())}
    manifest = Manifest(
        versions={"tvm_equi": "0"},
        dtype="float32",
        derivatives=0,
        targets=(target,),
        kernels=(KernelEntry(KERNEL.key(), "float32", {target.name: names["kernel"]}),),
        parameters="parameters.safetensors",
        programs=(
            ProgramEntry(
                "main",
                inputs,
                outputs,
                ("weights",),
                {target.name: names["main"]},
                {target.name: (names["kernel"],) if has_kernel else ()},
            ),
        ),
    )
    sections = {
        names["kernel"]: library,
        names["main"]: program_library(called) if program is None else program,
        "parameters.safetensors": write_tensors(tensors),
    }
    return write(path, manifest, sections)
