"""A symmetric contraction in plain torch with e3nn's Wigner 3j: the reference of `verify`.

In: the operation. Out: a function of x and weights, differentiable to any order, which computes
every polynomial by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from e3nn import o3

from tvm_equi.algebra.symmetric import Factor, Ir, Pair, factor_ir
from tvm_equi.graph.operations import SymmetricContraction


def symmetric_reference(
    operation: SymmetricContraction,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The function of x [rows, dim] (in layout mul_ir) and weights ([rows, n] or [n]).

    Args:
        operation: to compute.
    """
    irs, outputs = operation.irs(operation.irreps_in), operation.irs(operation.irreps_out)
    mul, found = operation.mul, operation.polynomials()
    dims = [2 * degree + 1 for degree, _ in irs]

    def contract(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        parts = x.split([mul * dim for dim in dims], -1)
        leaves = [part.unflatten(-1, (mul, dim)) for part, dim in zip(parts, dims, strict=True)]
        per_path = weights.unflatten(-1, (len(found), mul))
        sums = [x.new_zeros((x.shape[0], mul, 2 * degree + 1)) for degree, _ in outputs]
        for number, (output, polynomial) in enumerate(found):
            values = [_factor(leaves, irs, factor) for factor in polynomial.factors]
            value = values[0]
            if len(values) == 2:
                left, right = (factor_ir(irs, factor) for factor in polynomial.factors)
                value = _couple(values[0], values[1], (left, right, outputs[output]))
            sums[output] = sums[output] + per_path[..., number, :, None] * value
        return torch.cat([total.flatten(1) for total in sums], -1)

    return contract


def _factor(leaves: list[torch.Tensor], irs: tuple[Ir, ...], factor: Factor) -> torch.Tensor:
    """The value of a factor: [rows, channels, components]."""
    if not isinstance(factor, Pair):
        return leaves[factor]
    left, right = factor.left, factor.right
    return _couple(leaves[left], leaves[right], (irs[left], irs[right], factor.ir))


def _couple(left: torch.Tensor, right: torch.Tensor, irs: tuple[Ir, Ir, Ir]) -> torch.Tensor:
    """The Clebsch-Gordan product, channel by channel."""
    (l1, _), (l2, _), (l3, _) = irs
    coupling = o3.wigner_3j(l1, l2, l3, dtype=left.dtype)
    return torch.einsum("nui,nuj,ijk->nuk", left, right, coupling)
