"""What a process that runs a model measures of itself; `bench.deploy` starts it and reads its JSON.

Run as `python -m bench.deploy_child startup MODEL INPUTS`, where neither torch nor TVM's package is
installed, or as `... torch MODEL`, where they are. Imports stay in functions: they are measured.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

LATER_CALLS = 5
BATCH, BATCHES = 200, 40
"""Calls that are timed together, and how often."""


def startup(model: str, inputs: str) -> dict[str, Any]:
    """Seconds from a new process to results.

    Args:
        model: the path of a model file.
        inputs: the path of a .npz with arrays by the names of its inputs.
    """
    began = time.perf_counter()
    import numpy as np

    numpy_seconds = time.perf_counter() - began
    start = time.perf_counter()
    import tvm_equi.deploy.model

    package_seconds = time.perf_counter() - start
    start = time.perf_counter()
    import tvm_ffi  # noqa: F401

    ffi_seconds = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    loaded = tvm_equi.deploy.load(model)
    load_seconds, load_cpu = time.perf_counter() - start, time.process_time() - cpu
    with np.load(inputs) as data:
        arrays = {value.name: data[value.name] for value in loaded.inputs}
        wanted = {name: data[f"expected_{name}"] for name in (v.name for v in loaded.outputs)}
    calls, cpu_calls, found = [], [], {}
    for _ in range(1 + LATER_CALLS):
        start, cpu = time.perf_counter(), time.process_time()
        found = loaded(**arrays)
        calls.append(time.perf_counter() - start)
        cpu_calls.append(time.process_time() - cpu)
    errors = {
        name: float(np.abs(found[name] - value).max() / max(np.abs(value).max(), 1e-30))
        for name, value in wanted.items()
    }
    return {
        "numpy": numpy_seconds,
        "package": package_seconds,
        "tvm_ffi": ffi_seconds,
        "load": load_seconds,
        "load_cpu": load_cpu,
        "first": calls[0],
        "first_cpu": cpu_calls[0],
        "later": calls[1:],
        "later_cpu": cpu_calls[1:],
        "errors": errors,
        "target": loaded.target,
        "torch": "torch" in sys.modules,
    }


def overhead(model: str, inputs: str) -> dict[str, Any]:
    """Seconds of each call of a program that computes next to nothing.

    Args:
        model: the path of a model file.
        inputs: the path of a .npz with arrays by the names of its inputs.
    """
    import numpy as np

    import tvm_equi.deploy

    loaded = tvm_equi.deploy.load(model)
    with np.load(inputs) as data:
        arrays = [data[value.name] for value in loaded.inputs]
    for _ in range(BATCH):
        loaded(*arrays)
    seconds = []
    for _ in range(BATCHES):
        start = time.perf_counter()
        for _ in range(BATCH):
            loaded(*arrays)
        seconds.append((time.perf_counter() - start) / BATCH)
    return {"calls": seconds}


def torch_startup(model: str) -> dict[str, Any]:
    """Seconds for torch and the model as a torch module.

    Args:
        model: the path of a model file that has a graph.
    """
    start = time.perf_counter()
    import torch  # noqa: F401

    torch_seconds = time.perf_counter() - start
    start = time.perf_counter()
    import tvm_equi

    load = tvm_equi.load
    package_seconds = time.perf_counter() - start
    start = time.perf_counter()
    load(model)
    return {
        "torch": torch_seconds,
        "package": package_seconds,
        "load": time.perf_counter() - start,
    }


QUESTIONS = {"startup": startup, "overhead": overhead, "torch": torch_startup}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    print(json.dumps(QUESTIONS[sys.argv[1]](*sys.argv[2:])))
