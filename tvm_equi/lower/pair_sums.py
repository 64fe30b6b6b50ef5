"""TensorIR for gradients to y that are summed over channels as products s[i] z[k].

In: a bundle of couple steps (`lower/couple.py`, where the formulas are). Out: a register for each
pair (i, k) of a path, summed over blocks of lanes, then combined with the coefficients once a row.
Where a path has more pairs than registers hold, the rest take loops over lanes of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.couple_path import PathEmitter, Scope
from tvm_equi.lower.roles import Pair
from tvm_equi.lower.vector import (
    Expr,
    block_width,
    constant,
    each_block,
    splat,
    total,
    vector_dtype,
    zeros,
)

if TYPE_CHECKING:
    from tvm_equi.lower.couple import Couple


class PairSums:
    """The sums of pairs of a bundle.

    Args:
        couple: the bundle.
    """

    def __init__(self, couple: Couple) -> None:
        """Starts with no registers; those of a (path, gradient) are there inside its loops."""
        self.couple = couple
        self.registers: dict[tuple[int, str], dict[Pair, Any]] = {}

    def chunks(self, number: int) -> list[list[Pair]]:
        """The pairs of a path in parts that registers hold; none where no pairs are summed."""
        return self.couple.roles[number].pair_chunks(self.couple.steps, self.couple.decisions)

    def num_registers(self, number: int) -> int:
        """Registers for the pairs of a path in the loop over its group."""
        return sum(len(chunk) * len(self._targets(number)) for chunk in self.chunks(number)[:1])

    def open(self, group: list[int]) -> None:
        """Registers for the first part of each path's pairs, from zero."""
        for number in group:
            for chunk in self.chunks(number)[:1]:
                self._open(number, chunk)

    def close(self, group: list[int], r: Expr) -> None:
        """Combines the sums with the coefficients; then sums and combines the other pairs."""
        self._combine(r)
        for number in group:
            for chunk in self.chunks(number)[1:]:
                self._open(number, chunk)
                each_block(
                    self.couple.roles[number].extent,
                    self.couple.lanes,
                    lambda block, number=number: PathEmitter(
                        self.couple, number, r, Scope(block), {}
                    ).emit_pairs(),
                )
                self._combine(r)

    def _targets(self, number: int) -> list[str]:
        """Gradients to a path's y."""
        steps = self.couple.steps_to(self.couple.roles[number].common)
        return list(dict.fromkeys(step.target for step in steps))

    def _width(self, number: int) -> int:
        return block_width(self.couple.roles[number].extent, self.couple.lanes)

    def _open(self, number: int, chunk: list[Pair]) -> None:
        """Registers for some pairs of a path, from zero."""
        dtype, width = self.couple.storage.dtype, self._width(number)
        for name in self._targets(number):
            registers = {
                pair: T.alloc_buffer((1,), vector_dtype(dtype, width), scope="global")
                for pair in chunk
            }
            for register in registers.values():
                T.buffer_store(register, zeros(dtype, width), [0])
            self.registers[number, name] = registers

    def _combine(self, r: Expr) -> None:
        """Adds sum_ik C[i,j,k] of the sums of pairs to the sums over lanes of row r."""
        for (number, name), registers in self.registers.items():
            roles, width = self.couple.roles[number], self._width(number)
            buffer = self.couple.sums[name, roles.path.segments[roles.common], width]
            values = {pair: T.bind(register[0]) for pair, register in registers.items()}
            for j in range(roles.coefficients.shape[1]):
                terms = [
                    values[i, k]
                    * splat(constant(self.couple.storage.dtype, roles.coefficients[i, j, k]), width)
                    for i, k in np.argwhere(roles.coefficients[:, j, :]).tolist()
                    if (i, k) in values
                ]
                if terms:
                    at = self.couple.sum_index(buffer, j, r)
                    T.buffer_store(buffer, total([buffer[at], *terms]), [at])
        self.registers.clear()
