"""Keeps dynamo out of derivatives that run outside of compiled graphs.

In: nothing. Out: backward functions that dynamo does not look into. A compiled function that takes
a gradient itself breaks dynamo's graph there, and the backward pass then runs in Python while
dynamo watches every frame: it would trace the runtime, and at first the compiler of kernels too.
"""

from __future__ import annotations

from typing import Any

import torch

from tvm_equi.runtime.function import EagerFunction, KernelFunction


def keep_out() -> None:
    """Disables dynamo in backward functions; a second time does nothing."""
    functions: tuple[Any, ...] = (KernelFunction, EagerFunction)
    for function in functions:
        if not hasattr(function.backward, "_torchdynamo_disable"):
            function.backward = staticmethod(torch.compiler.disable(function.backward))
