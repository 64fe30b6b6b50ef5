"""What a graph needs of a library of arrays, so that one set of rules runs it in any of them.

What arrays of all libraries do by themselves (slices, `reshape`, `@`, `sum`) rules do directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm_equi.graph.operations import ScalarFunction, SphericalHarmonics
from tvm_equi.runtime.stage_plans import RunPlan

Array: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class ArrayLibrary:
    """A library's functions. Those with `like` give arrays of its dtype, on its device.

    Args:
        functions: of each number, by name.
        zeros: (like, shape) -> zeros.
        ones: (like, shape) -> ones.
        count_to: (like, num) -> 1, 2, ..., num.
        concat: arrays side by side, along the last axis.
        einsum: (subscripts, *arrays) -> the sum of products.
        sin: of each number.
        take_rows: (array, index) -> a row for each index.
        sum_rows: (array, index, num_rows) -> the sum of the rows with each index.
        length: (array, axis) -> lengths along an axis, whose gradient at zero is zero.
        unit_vectors: of vectors [rows, 3]; zero stays zero.
        harmonics: of an operation, the function that gives spherical harmonics of [rows, 3].
        run: a kernel over rows.
        convolve: (plan, inputs, topology) -> the outputs of a kernel over edges.
        topology: ((senders, receivers), (number of senders', of receivers' nodes), check_indices)
            -> the sorted edges.
    """

    functions: Mapping[ScalarFunction, Callable[[Array], Array]]
    zeros: Callable[[Array, tuple[int, ...]], Array]
    ones: Callable[[Array, tuple[int, ...]], Array]
    count_to: Callable[[Array, int], Array]
    concat: Callable[[list[Array]], Array]
    einsum: Callable[..., Array]
    sin: Callable[[Array], Array]
    take_rows: Callable[[Array, Array], Array]
    sum_rows: Callable[[Array, Array, int], Array]
    length: Callable[[Array, int], Array]
    unit_vectors: Callable[[Array], Array]
    harmonics: Callable[[SphericalHarmonics], Callable[[Array], Array]]
    run: RunPlan
    convolve: Callable[[str, list[Array], Any], Sequence[Array]]
    topology: Callable[[tuple[Array, Array], tuple[int, int], bool | None], Any]
