"""Registers the torch operators, beside those of `libtvm_equi_torch.so` where a process has both.

In: schemas and implementations. Out: operators of torch. Where the library in C++ was loaded first,
schemas are there, and the implementations here take the place of its own: they compile what is
missing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

NAMESPACE = "tvm_equi"
LIBRARY = torch.library.Library(NAMESPACE, "FRAGMENT")


def register(
    schema: str, function: Callable[..., Any], fake: Callable[..., Any]
) -> torch.library.Library:
    """Registers an operator for CPUs and GPUs.

    Args:
        schema: in torch's notation, the name without namespace.
        function: its implementation.
        fake: gives outputs that have shapes and no values.

    Returns:
        What it is registered in.
    """
    name = schema[: schema.index("(")]
    is_there = hasattr(getattr(torch.ops, NAMESPACE), name)
    with warnings.catch_warnings():
        if is_there:
            warnings.simplefilter("ignore", UserWarning)
        else:
            LIBRARY.define(schema)
        for key in ("CPU", "CUDA"):
            LIBRARY.impl(name, function, key)
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=LIBRARY)
    return LIBRARY
