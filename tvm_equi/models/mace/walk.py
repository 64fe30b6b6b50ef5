"""One line for the user: a model of mace-torch on compiled kernels.

In: a model that mace-torch built, or that torch.load gave. Out: the same model, with modules
swapped inside. Refused: a model in which no interaction block is known, which stays as it was.
"""

from __future__ import annotations

import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.accelerate import accelerate
from tvm_equi.models.mace.rules import reason_left


def accelerate_mace(
    model: torch.nn.Module, *, check: bool = True, quiet: bool = True
) -> torch.nn.Module:
    """Swaps what there are kernels for, in place; the state dict stays that of mace-torch.

    Args:
        model: a `mace.modules.MACE`, or another of mace-torch's models.
        check: whether new modules are compared with the old ones, as in `tvm_equi.accelerate`.
        quiet: whether the report is not printed; it is the model's `tvm_equi_report`.

    Returns:
        The model.

    Raises:
        ArtifactError: a module's result differs from that of its original.
        UnsupportedError: it has no interaction block of mace-torch that can be swapped.
    """
    reasons = [reason for module in model.modules() if (reason := reason_left(module)) is not None]
    if all(reasons):
        raise UnsupportedError(
            "accelerate_mace: model: expected interaction blocks of mace-torch, "
            f"got {type(model).__name__}{': ' if reasons else ''}{'; '.join(reasons)}"
        )
    return accelerate(model, check=check, quiet=quiet)
