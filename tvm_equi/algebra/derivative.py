"""Derivatives of kernels: a form's derivative is the same form with another operand computed.

In: a kernel. Out: the kernel of its vector-Jacobian product, which is again a kernel, so
derivatives of any order come from the same few lines. Reverse accumulation over the steps; forward
steps are kept only for the temporaries that the reverse steps read.
"""

from __future__ import annotations

from functools import lru_cache

from tvm_equi.algebra.kernel import Kernel, Step
from tvm_equi.errors import ArgumentError


@lru_cache(maxsize=1024)
def vjp(kernel: Kernel, wrt: tuple[int, ...], of: tuple[int, ...]) -> Kernel:
    """The kernel of gradients of sum_k <g_k, output_k>.

    Args:
        kernel: the function to differentiate.
        wrt: the inputs to take gradients of, by number.
        of: the outputs that have a cotangent g_k, by number.

    Returns:
        A kernel with inputs (inputs of `kernel`, then g_k in the order of `of`) and one output per
        entry of `wrt`.

    Raises:
        ArgumentError: a number in `wrt` or `of` is out of range.

    Source:
        A step is linear in each operand, so its transpose with respect to one operand is the same
        multilinear form with that operand and the output exchanged; Griewank and Walther,
        Evaluating Derivatives (2008), chapter 3.
    """
    for name, numbers, count in (("wrt", wrt, len(kernel.inputs)), ("of", of, len(kernel.outputs))):
        if any(not 0 <= number < count for number in numbers):
            raise ArgumentError(f"vjp: {name}: expected numbers below {count}, got {numbers}")
    varying = _depends_on(kernel, {kernel.inputs[number] for number in wrt})
    adjoint = {kernel.outputs[number]: f"g{number}" for number in of}
    adjoint |= {kernel.inputs[number]: f"d{number}" for number in wrt}
    steps = list(kernel.steps)
    for step in reversed(kernel.steps):
        if step.target not in adjoint:
            continue
        for slot, name in enumerate(step.operands):
            if slot == step.output or name not in varying:
                continue
            operands = list(step.operands)
            operands[step.output] = adjoint[step.target]
            operands[slot] = adjoint.setdefault(name, f"d{name}")
            steps.append(Step(step.contraction, tuple(operands), slot))
    types = [(name, kernel.operand(name)) for name in kernel.inputs]
    types += [(f"g{number}", kernel.operand(kernel.outputs[number])) for number in of]
    types += [(f"d{number}", kernel.operand(kernel.inputs[number])) for number in wrt]
    return canonical(
        kernel,
        (*kernel.inputs, *(f"g{number}" for number in of)),
        tuple(f"d{number}" for number in wrt),
        tuple(types),
        steps,
    )


def _depends_on(kernel: Kernel, names: set[str]) -> set[str]:
    """The values that depend on the named inputs, the inputs included."""
    for step in kernel.steps:
        if any(name in names for name in step.sources):
            names.add(step.target)
    return names


def canonical(
    kernel: Kernel,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    types: tuple[tuple[str, object], ...],
    steps: list[Step],
) -> Kernel:
    """Drops steps that no output needs and renames values to i0.., o0.., t0.. in order of use.

    Args:
        kernel: that the contractions are of.
        inputs: names, all of which are kept.
        outputs: names.
        types: (name, operand) for each input and output.
        steps: the program.
    """
    needed, kept = set(outputs), []
    for step in reversed(steps):
        if step.target in needed:
            kept.append(step)
            needed.update(step.sources)
    kept.reverse()
    names = {name: f"i{number}" for number, name in enumerate(inputs)}
    names |= {name: f"o{number}" for number, name in enumerate(outputs)}
    for step in kept:
        names.setdefault(step.target, f"t{len(names) - len(inputs) - len(outputs)}")
    renamed = tuple(
        Step(s.contraction, tuple(names[name] for name in s.operands), s.output) for s in kept
    )
    return Kernel(
        kernel.contractions,
        tuple(names[name] for name in inputs),
        tuple(names[name] for name in outputs),
        tuple((names[name], operand) for name, operand in types),  # type: ignore[misc]
        renamed,
    )
