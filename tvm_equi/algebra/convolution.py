"""Kernels of graph convolutions: tensor products whose operands live on the nodes of a graph.

In: kernels on plain rows. Out: kernels whose rows are edges, which read values of senders and
receivers and add to them; what can be computed once per node instead of once per edge, split off;
and values computed inside in place of an input. Each is again a `Kernel`, so that its derivatives
come from `vjp`. A derivative may add both to senders and to receivers: `passes` splits it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from tvm_equi.algebra.contraction import Contraction, Operand, Rows
from tvm_equi.algebra.derivative import canonical
from tvm_equi.algebra.kernel import Kernel, Step
from tvm_equi.errors import ArgumentError

NodeRows = Literal["sender", "receiver"]
NODE_ROWS: tuple[NodeRows, ...] = ("sender", "receiver")


@dataclass(frozen=True, slots=True)
class Stages:
    """A tensor product over a graph, as kernels on nodes and on edges.

    Values go by name: x, y, w and z as in the product; h, t and s are between stages.

    Args:
        before: (x, w) -> h, on senders; None where nothing can be done there.
        edges: some of (x, y, w, h) -> some of (z, t, s), on edges; x and h are on senders, the
            outputs on receivers.
        after: (some of t and s, then w) -> z, on receivers, to be added to what `edges` gives; or
            None.
    """

    before: Kernel | None
    edges: Kernel
    after: Kernel | None


@dataclass(frozen=True, slots=True)
class Pass:
    """Part of a kernel's outputs, computed in one run over the edges.

    Args:
        kernel: with all inputs and some outputs of the whole.
        outputs: their numbers in the whole.
    """

    kernel: Kernel
    outputs: tuple[int, ...]


def is_convolution(kernel: Kernel) -> bool:
    """Whether a kernel's rows are edges, and some of its operands on nodes."""
    return any(operand.rows in NODE_ROWS for _, operand in kernel.types)


def convolution_kernel(product: Kernel) -> Kernel:
    """The kernel z[receiver] += product(x[sender], y, w) over edges.

    Args:
        product: of a tensor product: inputs x, y and, where there are weights, w; output z.
    """
    return _with_rows(product, {"x": "sender", "z": "receiver"})


def indexed_kernel(product: Kernel, name: str) -> Kernel:
    """The kernel in which each row takes one of its inputs by an index: one matrix of several, say.

    As a convolution: rows are edges, and the input is on their senders.

    Args:
        product: on plain rows.
        name: of an input that has rows.
    """
    return _with_rows(product, {name: "sender"})


@lru_cache(maxsize=512)
def stages(product: Kernel) -> Stages:
    """Splits a tensor product over a graph into work on nodes and work on edges.

    A matrix of weights that all edges share acts on channels only, so that it can act on x before
    it is gathered, or on the product after it is summed (Schur's lemma and linearity): a linear
    layer per node in place of one per edge.

    Args:
        product: of a tensor product: inputs x, y and, where there are weights, w; output z.
    """
    before = [s for s in product.steps if _is_shared_mix(product, s) and s.operands[0] == "x"]
    last = [s for s in product.steps if _is_shared_mix(product, s) and s.target == "z"]
    # A value between stages must have no other reader.
    readers = Counter(name for step in product.steps for name in step.sources)
    after = [s for s in last if s.operands[0] != "x" and readers[s.operands[0]] == 1]
    before = [step for step in before if step.target != "z"]
    h = {step.target for step in before}
    middle = [step for step in product.steps if step not in before and step not in after]
    used = {name for step in middle for name in step.sources}
    targets = {step.target for step in middle}
    between = tuple(step.operands[0] for step in after)
    inputs = tuple(name for name in (*product.inputs, *sorted(h)) if name in used)
    outputs = tuple(name for name in ("z", *between) if name in targets) or ("z",)
    rows: dict[str, Rows] = {name: "sender" for name in ("x", *h)}
    rows |= {name: "receiver" for name in outputs}
    return Stages(
        _select(product, before, ("x", "w"), tuple(sorted(h))) if before else None,
        _with_rows(_select(product, middle, inputs, outputs), rows),
        _select(product, after, (*between, "w"), ("z",)) if after else None,
    )


def _is_shared_mix(kernel: Kernel, step: Step) -> bool:
    """Whether a step multiplies by a matrix that is the same for all rows."""
    form = kernel.contractions[step.contraction]
    return form.family == "mix" and form.operands[1].rows == "shared"


def _select(
    kernel: Kernel, steps: list[Step], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> Kernel:
    """The kernel of some of the steps of another, with names kept."""
    numbers = {step.contraction: number for number, step in enumerate(steps)}
    return Kernel(
        tuple(kernel.contractions[step.contraction] for step in steps),
        inputs,
        outputs,
        tuple((name, kernel.operand(name)) for name in (*inputs, *outputs)),
        tuple(replace(step, contraction=numbers[step.contraction]) for step in steps),
    )


def _with_rows(kernel: Kernel, rows: Mapping[str, Rows]) -> Kernel:
    """The kernel with some values on other rows; each step has a contraction of its own."""

    def moved(name: str, operand: Operand) -> Operand:
        return replace(operand, rows=rows[name]) if name in rows else operand

    forms: list[Contraction] = []
    for step in kernel.steps:
        form = kernel.contractions[step.contraction]
        pairs = zip(step.operands, form.operands, strict=True)
        forms.append(replace(form, operands=tuple(moved(name, operand) for name, operand in pairs)))
    return Kernel(
        tuple(forms),
        kernel.inputs,
        kernel.outputs,
        tuple((name, moved(name, operand)) for name, operand in kernel.types),
        tuple(replace(step, contraction=number) for number, step in enumerate(kernel.steps)),
    )


def substitute(kernel: Kernel, number: int, inner: Kernel) -> Kernel:
    """The kernel that computes one of its inputs itself, by another kernel.

    Args:
        kernel: the outer one.
        number: of the input.
        inner: has one output, of the input's type.

    Returns:
        A kernel whose inputs are those of `kernel`, with those of `inner` in the place of the
        input; their names are the input's with a number.

    Raises:
        ArgumentError: the number is out of range, or the types differ.
    """
    if not 0 <= number < len(kernel.inputs):
        raise ArgumentError(
            f"substitute: number: expected one below {len(kernel.inputs)}, got {number}"
        )
    name, (result,) = kernel.inputs[number], inner.outputs
    if inner.operand(result) != kernel.operand(name):
        raise ArgumentError(
            f"substitute: inner: expected an output of type {kernel.operand(name)}, "
            f"got {inner.operand(result)}"
        )
    known = (*inner.inputs, *inner.temporaries)
    names = {old: f"{name}_{position}" for position, old in enumerate(known)} | {result: name}
    offset = len(inner.contractions)
    steps = [replace(s, operands=tuple(names[old] for old in s.operands)) for s in inner.steps]
    steps += [replace(s, contraction=s.contraction + offset) for s in kernel.steps]
    fresh = tuple(names[old] for old in inner.inputs)
    types = tuple((names[old], inner.operand(old)) for old in inner.inputs)
    return Kernel(
        (*inner.contractions, *kernel.contractions),
        (*kernel.inputs[:number], *fresh, *kernel.inputs[number + 1 :]),
        kernel.outputs,
        (*types, *(pair for pair in kernel.types if pair[0] != name)),
        tuple(steps),
    )


def pass_order(kernel: Kernel) -> NodeRows:
    """The nodes by which a pass takes the edges: those that it adds to, receivers if to none.

    Args:
        kernel: whose outputs are not on both.
    """
    rows = {kernel.operand(name).rows for name in kernel.outputs}
    return "sender" if "sender" in rows else "receiver"


@lru_cache(maxsize=1024)
def passes(kernel: Kernel) -> tuple[Pass, ...]:
    """The kernel as passes over the edges, each of which adds to nodes of one kind only.

    Values on edges and shared ones are computed with those on senders, where there are some, since
    these need the same intermediate values.

    Args:
        kernel: a convolution, or a derivative of one.
    """
    rows = [kernel.operand(name).rows for name in kernel.outputs]
    if not {"sender", "receiver"} <= set(rows):
        return (Pass(kernel, tuple(range(len(rows)))),)
    by_receiver = tuple(number for number, kind in enumerate(rows) if kind == "receiver")
    by_sender = tuple(number for number in range(len(rows)) if number not in by_receiver)
    return (_restrict(kernel, by_sender), _restrict(kernel, by_receiver))


def _restrict(kernel: Kernel, numbers: tuple[int, ...]) -> Pass:
    """The pass that computes some of the outputs."""
    outputs = tuple(kernel.outputs[number] for number in numbers)
    types = tuple((name, kernel.operand(name)) for name in (*kernel.inputs, *outputs))
    steps = list(kernel.steps)
    return Pass(canonical(kernel, kernel.inputs, outputs, types, steps), numbers)
