"""Derivatives that a model file has, in the place of those that it has not.

A model file covers derivatives with respect to what torch would ask for. JAX asks for what moves,
which may be less: then a kernel that computes more serves. Its cotangents that the other has not
are zeros, and outputs that nobody wants are dropped.

In: plans, those of model files first. Out: the plan to run, and how its values are the other's.
"""

from __future__ import annotations

from typing import NamedTuple

from tvm_equi.algebra.convolution import passes
from tvm_equi.jax.kernels import is_installed
from tvm_equi.runtime.plans import resolve

Words = tuple[str, ...]
"""The derivatives of a kernel that make a plan, the first one first."""

_known: dict[tuple[str, str], list[Words]] = {}
"""Derivatives of model files, by dtype and by the kernel that they are of."""


class Cover(NamedTuple):
    """A plan that computes what another does.

    Args:
        plan: to run.
        inputs: of each of its inputs the number among the other's; -1 for zeros.
        outputs: of each output of the other the number among its own.
    """

    plan: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def add_plan(plan: str, dtype: str) -> None:
    """Makes a plan of a model file known.

    Args:
        plan: that names a kernel or a derivative.
        dtype: of its values.
    """
    kernel, *words = plan.split(" ")
    known = _known.setdefault((dtype, kernel), [])
    if words and tuple(words) not in known:
        known.append(tuple(words))


def cover(plan: str, dtype: str) -> Cover | None:
    """A derivative of a model file that computes what a plan does; None if the plan is to be run.

    Args:
        plan: of a derivative, or of a kernel.
        dtype: of its values.
    """
    kernel, *words = plan.split(" ")
    known = _known.get((dtype, kernel), [])
    if not known or not words or tuple(words) in known or _is_installed(plan, dtype):
        return None
    first = resolve(kernel)
    counts = len(first.inputs), len(first.outputs)
    found = [
        covering
        for more in known
        if len(more) == len(words)
        and (covering := _covering(kernel, counts, tuple(words), more)) is not None
    ]
    return min(found, key=lambda covering: len(covering.plan)) if found else None


def _covering(kernel: str, counts: tuple[int, int], words: Words, more: Words) -> Cover | None:
    """How a derivative computes what another of the same order does; None if it does not."""
    inputs, outputs = list(range(counts[0])), list(range(counts[1]))
    num_inputs = counts[0]
    for word, other in zip(words, more, strict=True):
        (wrt, of), (more_wrt, more_of) = _numbers(word), _numbers(other)
        given = {outputs[number]: num_inputs + slot for slot, number in enumerate(of)}
        places = {number: place for place, number in enumerate(inputs) if number >= 0}
        if not given.keys() <= set(more_of) or not {places[n] for n in wrt} <= set(more_wrt):
            return None
        outputs = [more_wrt.index(places[number]) for number in wrt]
        inputs += [given.get(number, -1) for number in more_of]
        num_inputs += len(of)
    return Cover(" ".join((kernel, *more)), tuple(inputs), tuple(outputs))


def _is_installed(plan: str, dtype: str) -> bool:
    return all(is_installed(part.kernel, dtype) for part in passes(resolve(plan)))


def _numbers(word: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(wrt, of) of a derivative, from its word in a plan."""
    wrt, of = (tuple(int(number) for number in part.split(",")) for part in word.split(":"))
    return wrt, of
