"""e3nn's `SphericalHarmonics` on compiled kernels.

In: degrees and a normalisation. Out: a module whose values and derivatives are Clebsch-Gordan
couplings: Y_l is that of Y_m and Y_(l-m), m the largest power of two below l, so that degrees up to
2m need one kernel after those up to m. Refused: degrees above `MAX_DEGREE`, parities that vectors
can not give.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from e3nn.o3 import Irrep, Irreps

from tvm_equi.algebra.harmonics import NORMALIZATIONS, scale
from tvm_equi.errors import ArgumentError, ArgumentTypeError, UnsupportedError
from tvm_equi.nn.arguments import (
    check_operand,
    flatten_rows,
    parse_choice,
    parse_irreps,
    parse_layout,
)
from tvm_equi.runtime.harmonics_plans import harmonics_steps
from tvm_equi.runtime.torch_op import run

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_DEGREE = 12
"""As e3nn 0.6."""


class SphericalHarmonics(torch.nn.Module):
    """Spherical harmonics as polynomials of a vector, as `e3nn.o3.SphericalHarmonics`.

    Args:
        irreps_out: a degree, a list of degrees in any order, or irreps.
        normalize: whether to project vectors onto the unit sphere first; a zero vector stays zero.
        normalization: "integral" (unit integral of the square over the sphere), "component" (square
            norm 2l+1) or "norm" (norm 1).
        irreps_in: "1o" or "1e"; by default "1e" where an odd degree of `irreps_out` is even under
            inversion.
        layout: "mul_ir" (e3nn's) or "ir_mul", of repeated degrees.

    Raises:
        ArgumentError: an argument that e3nn would refuse too, or an unknown layout.
        ArgumentTypeError: degrees that are no integers.
        UnsupportedError: a degree above `MAX_DEGREE`.

    Example:
        >>> SphericalHarmonics([0, 1, 2], normalize=True)
        SphericalHarmonics(1x1o -> 1x0e+1x1o+1x2e | normalize=True, normalization='integral')
    """

    def __init__(
        self,
        irreps_out: int | Sequence[int] | str | Irreps,
        normalize: bool,
        normalization: str = "integral",
        irreps_in: Any = None,
        *,
        layout: str = "mul_ir",
    ) -> None:
        super().__init__()
        where = type(self).__name__
        self.normalize = normalize
        self.normalization = parse_choice(where, "normalization", NORMALIZATIONS, normalization)
        self.layout = parse_layout(where, layout)
        self.irreps_in, self.irreps_out = _parse_irreps(where, irreps_out, irreps_in)
        wanted = [(mul, ir.l) for mul, ir in self.irreps_out if mul]
        lmax = max((degree for _, degree in wanted), default=0)
        if lmax > MAX_DEGREE:
            raise UnsupportedError(
                f"{where}: irreps_out: expected degrees up to {MAX_DEGREE}, got {lmax}"
            )
        self._blocks = tuple(wanted)
        self._steps = tuple(harmonics_steps({degree for _, degree in wanted}, normalization))
        self._scales = (scale(normalization, 0), sqrt(3) * scale(normalization, 1))

    @classmethod
    def from_e3nn(cls, module: Any, layout: str = "mul_ir") -> Self:
        """A module that computes what an `e3nn.o3.SphericalHarmonics` does.

        Args:
            module: an `e3nn.o3.SphericalHarmonics`.
            layout: of the new module's output.
        """
        harmonics = cls(
            Irreps(module.irreps_out),
            module.normalize,
            module.normalization,
            Irreps(module.irreps_in),
            layout=layout,
        )
        return harmonics.train(module.training)

    def __repr__(self) -> str:
        """Irreps and normalisations in a line."""
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} "
            f"| normalize={self.normalize}, normalization={self.normalization!r})"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The harmonics of vectors.

        Args:
            x: float32 or float64 [..., 3].

        Returns:
            [..., irreps_out.dim].

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong dtype.
        """
        check_operand(type(self).__name__, "x", x, 3, x)
        batch = x.shape[:-1]
        rows = flatten_rows(x, batch)
        if self.normalize:
            rows = torch.nn.functional.normalize(rows, dim=-1)
        num_rows = rows.shape[0]
        known = {1: rows * self._scales[1]}
        for step in self._steps:
            parts = [known[degree] for degree in step.sources]
            left = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
            out = run(step.plan, [left, known[step.partner]])[0]
            sizes = [2 * degree + 1 for degree in step.targets]
            known.update(zip(step.targets, out.split(sizes, dim=-1), strict=True))
        blocks = []
        for mul, degree in self._blocks:
            if degree == 0:
                blocks.append(rows.new_full((num_rows, mul), self._scales[0]))
            elif self.layout == "mul_ir":
                blocks.append(known[degree].repeat(1, mul) if mul > 1 else known[degree])
            else:
                blocks.append(
                    known[degree].repeat_interleave(mul, dim=1) if mul > 1 else known[degree]
                )
        out = torch.cat(blocks, dim=-1) if blocks else rows.new_zeros((num_rows, 0))
        return out if len(batch) == 1 else out.reshape((*batch, out.shape[-1]))


def _parse_irreps(where: str, irreps_out: Any, irreps_in: Any) -> tuple[Irreps, Irreps]:
    """(irreps_in, simplified irreps_out), by e3nn's rules."""
    named: Irreps | None = None
    if isinstance(irreps_out, (str, Irreps)):
        named = parse_irreps(where, "irreps_out", irreps_out)
    if irreps_in is None:
        is_pseudo = named is not None and any(ir.l % 2 == 1 and ir.p == 1 for _, ir in named)
        irreps_in = "1e" if is_pseudo else "1o"
    vector = parse_irreps(where, "irreps_in", irreps_in)
    if vector not in (Irreps("1o"), Irreps("1e")):
        raise ArgumentError(f"{where}: irreps_in: expected 1x1o or 1x1e, got {vector}")
    parity = vector[0].ir.p
    if named is None:
        degrees = _parse_degrees(where, irreps_out)
        named = Irreps([(1, (degree, parity**degree)) for degree in degrees])
    for _, ir in named:
        if ir.p != parity**ir.l:
            raise ArgumentError(
                f"{where}: irreps_out: expected {Irrep(ir.l, parity**ir.l)} in place of {ir} for "
                f"irreps_in {vector}, got {named}"
            )
    return vector, named.simplify()


def _parse_degrees(where: str, value: Any) -> list[int]:
    """A list of degrees from one degree or several."""
    entries = [value] if hasattr(value, "__index__") else value
    try:
        degrees = [degree.__index__() for degree in entries]
    except (TypeError, AttributeError) as error:
        raise ArgumentTypeError(
            f"{where}: irreps_out: expected irreps, a degree or a list of degrees, got {value!r}"
        ) from error
    if any(degree < 0 for degree in degrees):
        raise ArgumentError(f"{where}: irreps_out: expected degrees >= 0, got {value!r}")
    return degrees
