"""MACE's symmetric contraction on a compiled kernel.

In: mace-torch's `SymmetricContraction`, with its own generalised Clebsch-Gordan tensors, reduced or
full. Out: a module with the same weights, which are converted to a basis without dependent
polynomials at each call; it takes features in e3nn's flat layout, or reshaped as mace-torch does.
Refused: correlations above 4, and tensors that are no equivariant polynomials in e3nn's basis.
"""

from __future__ import annotations

from typing import Any

import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.mace.elements import elements_of, index_of
from tvm_equi.models.mace.state import take_state
from tvm_equi.nn.symmetric_contraction import SymmetricContraction


class Contraction(torch.nn.Module):
    """mace-torch's `SymmetricContraction`.

    Args:
        module: of mace-torch; its state is kept, the tensors included.

    Raises:
        UnsupportedError: no two contractions have the same number of elements.
        ArgumentError: a correlation above 4, irreps of several multiplicities, or tensors that are
            no equivariant polynomials.
    """

    contractions: Any

    def __init__(self, module: Any) -> None:
        super().__init__()
        take_state(self, module)
        self.irreps_in, self.irreps_out = module.irreps_in, module.irreps_out
        self._degrees = [int(part.correlation) for part in module.contractions]
        numbers = {part.weights_max.shape[0] for part in module.contractions}
        if len(numbers) != 1:
            raise UnsupportedError(
                "Contraction: module: expected one number of elements for all irreps of the "
                f"output, got {sorted(numbers)}"
            )
        self.num_elements = numbers.pop()
        product = SymmetricContraction(
            self.irreps_in,
            self.irreps_out,
            max(self._degrees),
            self.num_elements,
            internal_weights=False,
        )
        self._product = (product,)
        self._matrix = _matrix(product, module.contractions)
        self._matrices: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    def __repr__(self) -> str:
        """Irreps, degrees and the number of elements."""
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} | "
            f"correlation {max(self._degrees)}, {self.num_elements} elements)"
        )

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The contraction.

        Args:
            x: [rows, irreps_in.dim] in e3nn's layout, or [rows, channels, components].
            y: [rows, elements], one-hot or not.

        Returns:
            [rows, irreps_out.dim].

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong dtype.
        """
        if x.dim() == 3:
            x = flat_features(x, self.irreps_in)
        (product,), matrix = self._product, self._matrix_for(x)
        weights = torch.cat(self._weights(), dim=1)
        known = index_of(y)
        if known is not None:
            return product.contract(x, (matrix @ weights).flatten(1).index_select(0, known.index))
        elements = elements_of(y)
        if elements is None:
            return product.contract(x, y @ (matrix @ weights).flatten(1))
        used = matrix @ (elements.chosen @ weights.flatten(1)).unflatten(1, weights.shape[1:])
        return product.contract(x, elements.of_rows @ used.flatten(1))

    def _matrix_for(self, x: torch.Tensor) -> torch.Tensor:
        """The matrix on x's device and of its dtype, copied there once."""
        key = (x.device, x.dtype)
        if key not in self._matrices:
            self._matrices[key] = self._matrix.to(*key)
        return self._matrices[key]

    def _weights(self) -> list[torch.Tensor]:
        """[elements, n, channels] of each output and degree, in the order of the matrix."""
        found = []
        for part, highest in zip(self.contractions, self._degrees, strict=True):
            found += [part.weights[highest - 1 - degree] for degree in range(1, highest)]
            found.append(part.weights_max)
        return found

    @property
    def correlation(self) -> int:
        """The highest degree of its polynomials."""
        return max(self._degrees)

    @property
    def is_trainable(self) -> bool:
        """Whether any of its weights requires a gradient."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def converted_weights(self) -> torch.Tensor:
        """The weights over independent polynomials: [elements, polynomials, channels]."""
        weights = torch.cat(self._weights(), dim=1)
        return self._matrix_for(weights) @ weights


def flat_features(x: torch.Tensor, irreps: Any) -> torch.Tensor:
    """Features in e3nn's layout, [rows, irreps.dim], given as [rows, channels, components].

    Args:
        x: as mace-torch reshapes them.
        irreps: of x.
    """
    sizes = [ir.dim for _, ir in irreps]
    return torch.cat([part.flatten(1) for part in x.split(sizes, dim=2)], dim=1)


def _matrix(product: SymmetricContraction, parts: Any) -> Any:
    """float64 [polynomials, weights of mace-torch], a block for each output and degree."""
    blocks = []
    for number, part in enumerate(parts):
        for degree in range(1, product.correlation + 1):
            if degree <= part.correlation:
                tensors = getattr(part, f"U_matrix_{degree}")
                blocks.append(product.projection(number, degree, tensors))
            else:  # polynomials that mace-torch has no weights of
                num = product.num_polynomials(number, degree)
                blocks.append(torch.zeros((num, 0), dtype=torch.float64))
    return torch.block_diag(*blocks)
