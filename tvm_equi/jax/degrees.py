"""How a kernel's outputs depend on its inputs: of which degrees.

In: plans. Out: for each output the degrees of an input in its terms. An output is linear in an
input where the only degree is 1; then its tangent is the kernel with the tangent in the input's
place.
"""

from __future__ import annotations

from functools import lru_cache

from tvm_equi.runtime.plans import resolve

Degrees = frozenset[int]


@lru_cache(maxsize=4096)
def degrees(plan: str, number: int) -> tuple[Degrees, ...]:
    """The degrees of an input in the terms of each output; none where there are no terms.

    Args:
        plan: of a kernel.
        number: of the input.
    """
    kernel = resolve(plan)
    found: dict[str, set[int]] = {name: {0} for name in kernel.inputs}
    found[kernel.inputs[number]] = {1}
    for step in kernel.steps:
        terms = {0}
        for name in step.sources:
            terms = {low + high for low in terms for high in found[name]}
        found.setdefault(step.target, set()).update(terms)
    return tuple(frozenset(found.get(name, ())) for name in kernel.outputs)


def depends(plan: str, output: int, inputs: tuple[int, ...]) -> bool:
    """Whether an output depends on any of some inputs.

    Args:
        plan: of a kernel.
        output: its number.
        inputs: their numbers.
    """
    return any(any(degrees(plan, number)[output]) for number in inputs)


def is_linear(plan: str, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> bool:
    """Whether each of some outputs is linear in each of some inputs, the others fixed.

    Args:
        plan: of a kernel.
        outputs: their numbers.
        inputs: their numbers.
    """
    return all(degrees(plan, number)[output] == {1} for number in inputs for output in outputs)
