"""What accelerating does to one module of a model.

In: what a rule found. Out: data that `accelerate` acts on and reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

Status = Literal["swapped", "fused", "left"]
"""A module on compiled kernels; one that also gathers and sums over edges in a kernel; one that is
left as it is, for a reason worth telling."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one module.

    Args:
        module: to put in its place, with the same parameters (the same objects, by the same names);
            the module itself where it was changed inside or is left.
        status: what happened.
        note: for the reader of the report: what it became, or why it is left.
        is_done: whether nothing inside is looked at any more.
        example: makes arguments on which the new module is compared with the old one; None for a
            module of `tvm_equi.nn`, whose arguments are known, and for one that is not compared.
    """

    module: torch.nn.Module
    status: Status
    note: str
    is_done: bool = True
    example: Callable[[], tuple[Any, ...]] | None = None


Rule: TypeAlias = Callable[[torch.nn.Module], Change | None]
"""What a code base's adapter does with a module: None where the rule does not know it."""
