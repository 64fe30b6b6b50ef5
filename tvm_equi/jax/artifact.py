"""Model files in JAX: the graph as a function, its parameters, and its kernels, compiled earlier.

In: a `.tvmeq` file. Out: (function, parameters). Neither torch nor a compiler is needed for what
the file covers: derivatives up to its order. Refused: what `deploy.container.read` refuses, files
without a graph or without code for this CPU, and float64 where JAX has it switched off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tvm_equi.deploy.container import Container, read
from tvm_equi.deploy.libraries import kernel_name, register_kernel
from tvm_equi.deploy.runtime import load_runtime
from tvm_equi.deploy.targets import best_cpu_target
from tvm_equi.errors import ArtifactError, GraphError
from tvm_equi.graph import TensorProductGraph, from_json
from tvm_equi.jax.covers import add_plan
from tvm_equi.jax.graph_function import GraphFunction
from tvm_equi.jax.kernels import install


def load(
    path: str | Path, *, check_indices: bool | None = None
) -> tuple[GraphFunction, dict[str, Any]]:
    """The function (parameters, inputs) -> outputs of a model file, and its parameters.

    Args:
        path: of the file.
        check_indices: as for `from_graph`.

    Raises:
        ArtifactError: no model file, one that is damaged, of a newer version, without a graph, or
            for other machines; or float64 values where JAX has none.
    """
    container = read(path)
    graph = _graph(container)
    if container.manifest.dtype == "float64" and not jax.config.jax_enable_x64:
        raise ArtifactError(
            f"{container.where}: dtype: expected float32 where JAX has no float64, got float64; "
            "call jax.config.update('jax_enable_x64', True) first"
        )
    _install(container)
    stored = container.parameters()
    missing = [name for name in graph.parameters if name not in stored]
    if missing:
        raise ArtifactError(f"{container.where}: parameters: expected {missing[0]}, got none")
    parameters = {name: jnp.asarray(stored[name].array) for name in graph.parameters}
    return GraphFunction(graph, check_indices), parameters


def _graph(container: Container) -> TensorProductGraph:
    """The graph of a model file.

    Raises:
        ArtifactError: it has none, or one that is not well formed.
    """
    name = container.manifest.graph
    if name is None:
        raise ArtifactError(
            f"{container.where}: graph: expected one to run in JAX, got a model without"
        )
    try:
        return from_json(bytes(container.section(name)).decode())
    except (GraphError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{container.where}: {name}: expected a graph, got: {error}") from error


def _install(container: Container) -> None:
    """Loads the kernels of the best target for this CPU."""
    target = best_cpu_target(container.where, container.manifest.targets).name
    for entry in container.manifest.kernels:
        name = entry.libraries[target]
        digest = container.sections[name].sha256
        register_kernel(name, container.section(name), digest)
        install(entry.key, entry.dtype, load_runtime().get_global_func(kernel_name(digest)))
    for plan in container.manifest.plans:
        add_plan(plan.plan, container.manifest.dtype)
