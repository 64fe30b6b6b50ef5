"""Model files in JAX: torch's numbers, with neither torch nor a compiler; what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

import tvm_equi
from tests.graphs import convolution
from tvm_equi.errors import ArtifactError
from tvm_equi.graph.dtypes import with_dtype
from tvm_equi.jax import load
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.nn.graph_module import GraphModule

pytestmark = pytest.mark.deploy

PROGRAM = """
import json, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "e3nn") or name.startswith("tvm."):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Nothing())
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from tvm_equi.errors import ArtifactError
from tvm_equi.jax import load

function, parameters = load(sys.argv[1])
inputs = dict(np.load(sys.argv[2]))

def energy(parameters, vectors):
    return function(parameters, **(inputs | {"vectors": vectors}))[0]

def loss(parameters):
    return (jax.grad(energy, 1)(parameters, inputs["vectors"]) ** 2).sum()

value, slope = jax.jit(jax.value_and_grad(energy, 1))(parameters, inputs["vectors"])
trained = jax.jit(jax.grad(loss))(parameters)
try:
    jax.grad(lambda x: (jax.grad(lambda x: (jax.grad(energy, 1)(parameters, x) ** 2).sum())(x) ** 2
        ).sum())(inputs["vectors"])
    message = ""
except ArtifactError as error:
    message = str(error)
print(json.dumps({"energy": float(value), "slope": slope.tolist(), "message": message,
                  "trained": {name: grad.tolist() for name, grad in trained.items()}}))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GraphModule]:
    torch.manual_seed(0)
    artifact = tvm_equi.compile(GraphModule(with_dtype(convolution(), "float64")))
    return artifact.save(tmp_path_factory.mktemp("models") / "model.tvmeq"), artifact


def test_derivatives_without_torch_and_compiler(saved: object, tmp_path: Path) -> None:
    path, artifact = saved
    inputs = random_inputs(artifact, 6, seed=1)
    np.savez(tmp_path / "inputs.npz", **{name: value.numpy() for name, value in inputs.items()})
    inputs["vectors"].requires_grad_()
    energy = artifact(**inputs)
    (slope,) = torch.autograd.grad(energy.sum(), inputs["vectors"], create_graph=True)
    (slope**2).sum().backward()
    cache = os.environ | {"TVM_EQUI_CACHE_DIR": str(tmp_path / "empty")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(tmp_path / "inputs.npz")],
        capture_output=True,
        text=True,
        env=cache,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    np.testing.assert_allclose(found["energy"], energy.item(), rtol=1e-12)
    np.testing.assert_allclose(found["slope"], slope.detach().numpy(), atol=1e-11)
    for name, value in artifact.named_parameters():
        grad = torch.zeros_like(value) if value.grad is None else value.grad
        np.testing.assert_allclose(found["trained"][name], grad.numpy(), atol=1e-10, err_msg=name)
    assert "expected a kernel of a model file, or the compiler" in found["message"]


def test_what_is_refused(saved: object, tmp_path: Path) -> None:
    path, artifact = saved
    with jax.enable_x64(False), pytest.raises(ArtifactError, match="dtype: expected float32 where"):
        load(path)
    damaged = tmp_path / "damaged.tvmeq"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(ArtifactError, match="sha256"):
        load(damaged)
    with pytest.raises(ArtifactError, match="expected a model file"):
        load(tmp_path / "none.tvmeq")
    assert artifact.derivatives == 2
