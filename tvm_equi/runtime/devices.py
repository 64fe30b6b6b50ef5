"""Which device a tensor is on, and what kind of GPU that is.

In: tensors. Out: facts about their device. Kernels for CPUs and for GPUs take different arguments;
whoever calls one asks here which it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch

from tvm_equi.errors import ArgumentError
from tvm_equi.schedule.targets import capability, family, host_family, is_gpu

DEVICE_TYPES = ("cpu", "cuda")

CHECK_VARIABLE = "TVM_EQUI_CHECK_INDICES"
"""Environment variable: 1 to check indices on GPUs too."""


def is_on_gpu(tensor: torch.Tensor) -> bool:
    """Whether kernels for GPUs take a tensor."""
    return tensor.is_cuda


def checks_indices(index: torch.Tensor) -> bool:
    """Whether indices are checked where nobody says: not on a GPU, which would be waited for."""
    return not is_on_gpu(index) or os.environ.get(CHECK_VARIABLE) == "1"


def check_devices(where: str, inputs: Sequence[torch.Tensor]) -> None:
    """Refuses tensors on several devices.

    Args:
        where: names the tensors.
        inputs: tensors.

    Raises:
        ArgumentError: naming the first on another device than that before it.
    """
    device = inputs[0].device
    for number, tensor in enumerate(inputs):
        if tensor.device != device:
            raise ArgumentError(
                f"{where}[{number}]: expected a tensor on {device} like {where}[0], "
                f"got one on {tensor.device}"
            )


@lru_cache(maxsize=64)
def architecture(device: torch.device) -> str:
    """The architecture of a GPU, such as "sm_90".

    Args:
        device: a CUDA device.
    """
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def has_gpu() -> bool:
    """Whether this machine has a GPU that torch can use."""
    return torch.cuda.is_available() and torch.cuda.device_count() > 0


def local_architectures() -> tuple[str, ...]:
    """The architectures of the GPUs in this machine.

    Raises:
        ArgumentError: there are none.
    """
    if not has_gpu():
        why = "no GPU that it can use" if torch.version.cuda else "a build of torch without CUDA"
        raise ArgumentError(
            f"target: cuda: expected a GPU in this machine, got {why}; to compile for a GPU "
            "elsewhere, name it: target='sm_80' (A100), 'sm_90' (H100), 'sm_100' (B200)"
        )
    return tuple(
        sorted({architecture(torch.device("cuda", n)) for n in range(torch.cuda.device_count())})
    )


def runs_on(architectures: Sequence[str], device: str) -> bool:
    """Whether code for some architectures runs on a GPU.

    Machine code runs on later minor versions of its major one, and the last architecture's PTX on
    whatever is newer (CUDA C++ Programming Guide, 3.1.4).

    Args:
        architectures: that the code was compiled for.
        device: the GPU's.
    """
    own = capability(device)
    built = [capability(name) for name in architectures]
    return any(each // 10 == own // 10 and each <= own for each in built) or max(built) <= own


def runs_here(target: str) -> bool:
    """Whether this machine runs code for a target.

    Args:
        target: a CPU, or one GPU.
    """
    if not is_gpu(target):
        return family(target) <= host_family()
    return has_gpu() and any(runs_on([target], own) for own in local_architectures())


def on_device(tensor: torch.Tensor) -> AbstractContextManager[object]:
    """A context in which the tensor's GPU is the current one; TVM's functions would not go back."""
    if tensor.is_cuda and tensor.device.index != torch.cuda.current_device():
        return torch.cuda.device(tensor.device)
    return nullcontext()
