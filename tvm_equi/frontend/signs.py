"""The signs of the installed e3nn's Wigner 3j symbols.

In: three degrees. Out: 1, or -1 where the installed e3nn has the symbol with the other sign than
`tvm_equi.algebra.cg`, which is that of e3nn 0.5 and later. e3nn 0.4 has 34 of the 175 symbols up to
degree 6 with the other sign, (1, 2, 2) the first of them. A model that was trained with one of them
computes something else with the other, so products take the sign of the e3nn that they come from.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from e3nn import o3

from tvm_equi.algebra.cg import wigner_3j


def symbol_sign(l1: int, l2: int, l3: int) -> float:
    """1.0, or -1.0 where the installed e3nn has another sign.

    Args:
        l1: degree of the first input.
        l2: degree of the second input.
        l3: degree of the output.
    """
    return _sign(l1, l2, l3) if _sign(1, 2, 2) < 0 else 1.0


def signed_weight(instruction: Any, in1: o3.Irreps, in2: o3.Irreps, out: o3.Irreps) -> float:
    """The factor of the symbol of `tvm_equi.algebra.cg` in a path of an e3nn tensor product.

    Args:
        instruction: with the final `path_weight`.
        in1: irreps of the first input.
        in2: irreps of the second input.
        out: irreps of the output.
    """
    degrees = (
        in1[instruction.i_in1].ir.l,
        in2[instruction.i_in2].ir.l,
        out[instruction.i_out].ir.l,
    )
    return float(instruction.path_weight) * symbol_sign(*degrees)


@cache
def _sign(l1: int, l2: int, l3: int) -> float:
    """The sign that the two symbols have relative to each other."""
    own = wigner_3j(l1, l2, l3)
    theirs = o3.wigner_3j(l1, l2, l3, dtype=torch.float64, device="cpu").numpy()
    largest = np.unravel_index(np.abs(own).argmax(), own.shape)
    return 1.0 if own[largest] * theirs[largest] > 0 else -1.0
