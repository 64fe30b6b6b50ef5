"""The order in which a tensor network is contracted, by counted sparse cost.

    out[p,u,k] = sum over e, h, i, j of H[e,h] W[h,p,u] X[e,u,i] Y[e,j] C[p,i,j,k]

In: tensors, each with a letter per index, and the nonzeros of one of them (the Clebsch-Gordan
tensor of all paths). Out: pairwise steps. A step costs the product of the extents of its dense
indices times the number of points of the pattern, projected on the step's indices, that are not
zero in structure; so the search finds by itself that C and Y should be contracted first, once for
all channels. Up to 12 tensors every order is tried, by subsets; beyond, and to compare, the path
finders of opt_einsum decide by dense cost. Refused: letters without an extent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import networkx
import opt_einsum

from tvm_equi.errors import GraphError

EXACT_LIMIT = 12
"""Tensors up to which every order is tried: 3^12 / 2 pairs of subsets, about a second."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a network.

    Args:
        name: of the tensor.
        indices: a letter for each.
    """

    name: str
    indices: str


@dataclass(frozen=True, slots=True)
class Network:
    """Tensors to multiply, summed over every index that is not in the output.

    Args:
        tensors: to multiply.
        output: letters of the result.
        extents: of each letter.
        pattern: (name, letters, points): the structurally nonzero points of one tensor.
        one_hot: (name, letter, of): a tensor in which each value of `of` has one of `letter`.
        dtype_bytes: of a number.

    Raises:
        GraphError: a letter without an extent.
    """

    tensors: tuple[Tensor, ...]
    output: str
    extents: tuple[tuple[str, int], ...]
    pattern: tuple[str, str, tuple[tuple[int, ...], ...]] = ("", "", ())
    one_hot: tuple[str, str, str] = ("", "", "")
    dtype_bytes: int = 4

    def __post_init__(self) -> None:
        """Refuses letters that nothing tells the extent of."""
        known = {letter for letter, _ in self.extents}
        for tensor in (*self.tensors, Tensor("output", self.output)):
            for letter in tensor.indices:
                if letter not in known:
                    raise GraphError(
                        f"network: {tensor.name}: expected an extent of {letter!r}, got none"
                    )

    @property
    def graph(self) -> networkx.MultiGraph:
        """Tensors and indices as nodes; an index of more than two tensors is a hyperedge."""
        found = networkx.MultiGraph()
        extents = dict(self.extents)
        for tensor in (*self.tensors, Tensor("output", self.output)):
            found.add_node(tensor.name, kind="tensor")
            for letter in tensor.indices:
                found.add_node(f"index {letter}", kind="index", extent=extents[letter])
                found.add_edge(tensor.name, f"index {letter}")
        return networkx.freeze(found)


@dataclass(frozen=True, slots=True)
class ContractionStep:
    """One pairwise contraction.

    Args:
        left: tensors in the first operand.
        right: tensors in the second.
        indices: letters of the result.
        multiply_adds: counted.
        result_bytes: of the result, if it is kept in memory.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    indices: str
    multiply_adds: int
    result_bytes: int


@dataclass(frozen=True, slots=True)
class ContractionOrder:
    """Steps that contract a network.

    Args:
        steps: in order; operands of a step are tensors or results of earlier ones.
    """

    steps: tuple[ContractionStep, ...]

    @property
    def multiply_adds(self) -> int:
        """Of all steps."""
        return sum(step.multiply_adds for step in self.steps)

    @property
    def largest_cut(self) -> int:
        """Bytes of the largest result but the last."""
        return max((step.result_bytes for step in self.steps[:-1]), default=0)

    @property
    def tree(self) -> str:
        """The order as brackets, e.g. "((H W) (X (C Y)))"."""
        made: dict[frozenset[str], str] = {}
        text = ""
        for step in self.steps:
            sides = sorted(made.get(frozenset(side), side[0]) for side in (step.left, step.right))
            text = f"({' '.join(sides)})"
            made[frozenset((*step.left, *step.right))] = text
        return text

    def is_contracted(self, *names: str) -> bool:
        """Whether some step makes the product of exactly these tensors."""
        return any({*step.left, *step.right} == set(names) for step in self.steps)

    def __str__(self) -> str:
        """A table with one line per step."""
        lines = [f"{self.tree}: {self.multiply_adds:,} multiply-adds"]
        for step in self.steps:
            sides = " x ".join("".join(side) for side in (step.left, step.right))
            lines.append(
                f"  {sides} -> [{','.join(step.indices)}]: {step.multiply_adds:,} multiply-adds, "
                f"{step.result_bytes:,} bytes"
            )
        return "\n".join(lines)


@dataclass(slots=True)
class _Counter:
    """Counts points of sets of letters; sets of tensors are bit masks."""

    network: Network
    sparse: bool
    extents: Mapping[str, int]
    counts: dict[tuple[frozenset[str], bool, bool], int] = field(default_factory=dict)

    @staticmethod
    def of(network: Network, *, sparse: bool) -> _Counter:
        """The counter of a network."""
        return _Counter(network, sparse, dict(network.extents))

    def names(self, mask: int) -> tuple[str, ...]:
        """The tensors of a set."""
        return tuple(t.name for bit, t in enumerate(self.network.tensors) if mask >> bit & 1)

    def open_letters(self, mask: int) -> frozenset[str]:
        """The letters of a product that something else still needs."""
        inside: set[str] = set()
        outside = set(self.network.output)
        for bit, tensor in enumerate(self.network.tensors):
            (inside if mask >> bit & 1 else outside).update(tensor.indices)
        return frozenset(inside & outside)

    def points(self, letters: frozenset[str], mask: int) -> int:
        """Structurally nonzero points of some letters, where some tensors have been multiplied."""
        names = self.names(mask)
        name, pattern_letters, points = self.network.pattern
        hot_name, hot, of = self.network.one_hot
        has_pattern = self.sparse and name in names
        has_hot = self.sparse and hot_name in names and {hot, of} <= letters
        key = (letters, has_pattern, has_hot)
        if key not in self.counts:
            free = letters - {hot} if has_hot else letters
            total = prod(
                self.extents[letter]
                for letter in free
                if not (has_pattern and letter in pattern_letters)
            )
            axes = [n for n, letter in enumerate(pattern_letters) if letter in free]
            if has_pattern and axes:
                total *= len({tuple(point[axis] for axis in axes) for point in points})
            self.counts[key] = total
        return self.counts[key]

    def step(self, left: int, right: int) -> ContractionStep:
        """The contraction of two products."""
        both = left | right
        result = self.open_letters(both)
        joint = self.open_letters(left) | self.open_letters(right)
        ordered = "".join(letter for letter, _ in self.network.extents if letter in result)
        return ContractionStep(
            self.names(left),
            self.names(right),
            ordered,
            self.points(joint, both),
            self.points(result, both) * self.network.dtype_bytes,
        )


def contraction_order(network: Network, *, sparse: bool = True) -> ContractionOrder:
    """The order with the fewest multiply-adds; among equal ones, that with the fewest bytes.

    Args:
        network: to contract.
        sparse: whether points that are zero in structure are free.

    Returns:
        The best of all orders up to `EXACT_LIMIT` tensors; beyond, opt_einsum's.
    """
    if len(network.tensors) > EXACT_LIMIT:
        return opt_einsum_order(network, sparse=sparse)
    counter = _Counter.of(network, sparse=sparse)
    everything = (1 << len(network.tensors)) - 1
    best: dict[int, tuple[int, int, int]] = {}  # multiply-adds, bytes, left side
    for mask in range(1, everything + 1):
        if mask & (mask - 1) == 0:
            best[mask] = (0, 0, 0)
            continue
        found = []
        for left in _halves(mask):
            right = mask ^ left
            step = counter.step(left, right)
            adds = best[left][0] + best[right][0] + step.multiply_adds
            size = best[left][1] + best[right][1] + step.result_bytes
            found.append((adds, size, left))
        best[mask] = min(found)
    steps: list[ContractionStep] = []
    _unfold(everything, best, counter, steps)
    return ContractionOrder(tuple(steps))


def _halves(mask: int) -> Iterator[int]:
    """The proper subsets that hold the lowest member."""
    lowest = mask & -mask
    rest = mask ^ lowest
    part = (rest - 1) & rest if rest else 0
    while True:
        yield part | lowest
        if part == 0:
            return
        part = (part - 1) & rest


def _unfold(
    mask: int,
    best: Mapping[int, tuple[int, int, int]],
    counter: _Counter,
    steps: list[ContractionStep],
) -> None:
    """Appends the steps that make a product."""
    left = best[mask][2]
    if left:
        _unfold(left, best, counter, steps)
        _unfold(mask ^ left, best, counter, steps)
        steps.append(counter.step(left, mask ^ left))


def opt_einsum_order(
    network: Network, *, optimize: str = "auto", sparse: bool = True
) -> ContractionOrder:
    """The order that a path finder of opt_einsum chooses by dense cost.

    Args:
        network: to contract.
        optimize: the path finder's name, e.g. "optimal", "greedy", "auto".
        sparse: whether the steps are counted without points that are zero in structure.
    """
    extents = dict(network.extents)
    operands = ",".join(tensor.indices for tensor in network.tensors)
    shapes = [tuple(extents[letter] for letter in t.indices) for t in network.tensors]
    path, _ = opt_einsum.contract_path(
        f"{operands}->{network.output}", *shapes, shapes=True, optimize=optimize
    )
    counter = _Counter.of(network, sparse=sparse)
    open_masks = [1 << bit for bit in range(len(network.tensors))]
    steps = []
    for positions in path:
        chosen = [open_masks.pop(position) for position in sorted(positions, reverse=True)]
        while len(chosen) > 1:
            right, left = chosen.pop(), chosen.pop()
            steps.append(counter.step(left, right))
            chosen.append(left | right)
        open_masks += chosen
    return ContractionOrder(tuple(steps))
