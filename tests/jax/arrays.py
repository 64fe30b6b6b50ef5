"""Random arrays for kernels and graphs, and the same for torch."""

from typing import Any

import numpy as np
import torch

from tvm_equi.jax.signature import shape, signature
from tvm_equi.runtime.topology import Topology

EDGES, SENDERS, RECEIVERS = 9, 4, 3
COUNTS = {"row": EDGES, "sender": SENDERS, "receiver": RECEIVERS}


def values(plan: str, counts: dict[str, int] = COUNTS, seed: int = 0) -> list[np.ndarray]:
    """Inputs of a kernel, float64."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape(value, counts)) for value in signature(plan).inputs]


def edges(
    num: int = EDGES, nodes: tuple[int, int] = (SENDERS, RECEIVERS), seed: int = 0
) -> np.ndarray:
    """An edge index."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, count, num) for count in nodes])


def torch_outputs(plan: str, inputs: list[np.ndarray], index: np.ndarray | None = None) -> Any:
    """What torch's operator gives."""
    from tvm_equi.runtime.convolution import convolve
    from tvm_equi.runtime.torch_op import run

    tensors = [torch.tensor(array) for array in inputs]
    if index is None:
        return [out.numpy() for out in run(plan, tensors)]
    topology = Topology(torch.tensor(index), (SENDERS, RECEIVERS))
    return [out.numpy() for out in convolve(plan, tensors, topology)]
