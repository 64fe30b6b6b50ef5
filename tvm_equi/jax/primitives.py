"""Kernels as two primitives of JAX: a kernel, and its tangent.

    kernel(plan; inputs, topology) -> outputs
    tangent(plan, wrt, of; inputs, topology, tangents of wrt) -> tangents of the outputs `of`

In: plans and arrays. Out: arrays, and every derivative: the tangent of a kernel is `tangent`, which
is linear in its last arguments; its transpose is the kernel of the vector-Jacobian product
(`runtime.plans.derivative_plan`), as for torch; and the tangent of `tangent` is that of the kernels
that it is made of. So any order in any mode needs no rule by hand. Arrays fit: `operator.py`
has checked them. Refused: other platforms than the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from tvm_equi.errors import UnsupportedError
from tvm_equi.jax.batch import batched_call
from tvm_equi.jax.calls import call_kernel, row_counts
from tvm_equi.jax.degrees import depends, is_linear
from tvm_equi.jax.signature import shape, signature
from tvm_equi.runtime.plans import derivative_plan

kernel_p: Any = Primitive("tvm_equi_kernel")
tangent_p: Any = Primitive("tvm_equi_tangent")


def _kernel(*operands: Any, plan: str, num_topology: int) -> list[Any]:
    """What the kernel's primitive stands for."""
    inputs, topology = _split(operands, num_topology)
    return call_kernel(plan, inputs, topology)


def _split(operands: Sequence[Any], num_topology: int) -> tuple[list[Any], list[Any]]:
    """(inputs, arrays of the topology)."""
    end = len(operands) - num_topology
    return list(operands[:end]), list(operands[end:])


def _tangent(*operands: Any, **parameters: Any) -> list[Any]:
    """What the tangent's primitive stands for: kernels, differentiable again.

    Where the outputs are linear in each input that moves, they are the kernel with its tangent in
    its place, once for each. Else the tangent is the derivative of <gradient(g), tangents> with
    respect to g, on which it does not depend: a kernel again.
    """
    plan, wrt, of = (parameters[name] for name in ("plan", "wrt", "of"))
    inputs, topology, tangents = _parts(operands, **parameters)
    bind = partial(kernel_p.bind, num_topology=len(topology))
    facts = signature(plan)
    if len(facts.outputs) == len(of) and is_linear(plan, of, wrt):
        terms = []
        for number, moved in zip(wrt, tangents, strict=True):
            replaced = [*inputs[:number], moved, *inputs[number + 1 :]]
            terms.append(bind(*replaced, *topology, plan=plan))
        return [sum(column[1:], column[0]) for column in zip(*terms, strict=True)]
    counts = row_counts(plan, inputs, topology)
    dtype = inputs[0].dtype
    zeros = [jnp.zeros(shape(facts.outputs[number], counts), dtype) for number in of]
    first = len(inputs)
    cotangents = tuple(range(first, first + len(of)))
    gradient = derivative_plan(plan, wrt, of)
    both = derivative_plan(gradient, cotangents, tuple(range(len(wrt))))
    found: list[Any] = bind(*inputs, *zeros, *tangents, *topology, plan=both)
    return found


def _parts(
    operands: Sequence[Any], *, plan: str, num_topology: int, **_: Any
) -> tuple[list[Any], list[Any], list[Any]]:
    """(inputs, arrays of the topology, tangents) of the tangent's primitive."""
    first = len(signature(plan).inputs)
    second = first + num_topology
    return list(operands[:first]), list(operands[first:second]), list(operands[second:])


def _kernel_types(*operands: Any, plan: str, num_topology: int) -> list[Any]:
    """The shapes of a kernel's outputs."""
    inputs, topology = _split(operands, num_topology)
    counts = row_counts(plan, inputs, topology)
    return [
        jax.core.ShapedArray(shape(value, counts), inputs[0].dtype)
        for value in signature(plan).outputs
    ]


def _tangent_types(*operands: Any, **parameters: Any) -> list[Any]:
    """The shapes of a tangent."""
    inputs, topology, _ = _parts(operands, **parameters)
    plan = parameters["plan"]
    found = _kernel_types(*inputs, *topology, plan=plan, num_topology=len(topology))
    return [found[number] for number in parameters["of"]]


def _kernel_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], *, plan: str, num_topology: int
) -> tuple[list[Any], list[Any]]:
    """The outputs, and their tangents; symbolic zeros where no input that moves is read."""
    outputs = kernel_p.bind(*primals, plan=plan, num_topology=num_topology)
    given, _ = _split(tangents, num_topology)
    moving = (n for n, tangent in enumerate(given) if not isinstance(tangent, ad.Zero))
    wrt, of = _coupled(plan, moving, range(len(outputs)))
    found: list[Any] = [ad.Zero(jax.typeof(out).to_tangent_aval()) for out in outputs]
    if of:
        moved = tangent_p.bind(
            *primals, *(given[n] for n in wrt), plan=plan, wrt=wrt, of=of, num_topology=num_topology
        )
        for number, value in zip(of, moved, strict=True):
            found[number] = value
    return outputs, found


def _coupled(
    plan: str, inputs: Iterable[int], outputs: Iterable[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The inputs that any of some outputs depends on, and the outputs that depend on any."""
    given = tuple(inputs)
    of = tuple(number for number in outputs if depends(plan, number, given))
    return tuple(n for n in given if any(depends(plan, number, (n,)) for number in of)), of


def _kernel_transpose(
    cotangents: Sequence[Any], *operands: Any, plan: str, num_topology: int
) -> list[Any]:
    """Gradients to the inputs in which a kernel is used as a linear function.

    Raises:
        UnsupportedError: it is not linear in them together.
    """
    inputs, topology = _split(operands, num_topology)
    wrt = tuple(n for n, value in enumerate(inputs) if ad.is_undefined_primal(value))
    for number, cotangent in enumerate(cotangents):
        if not isinstance(cotangent, ad.Zero) and not _is_jointly_linear(plan, number, wrt):
            raise UnsupportedError(
                f"tvm_equi.jax: transpose: expected a kernel that is linear in its inputs {wrt} "
                "together, got one that is not"
            )
    known = [jnp.zeros(v.aval.shape, v.aval.dtype) if n in wrt else v for n, v in enumerate(inputs)]
    of = tuple(range(len(cotangents)))
    return _transposed(known, topology, cotangents, plan, wrt, of, wrt, len(operands))


@lru_cache(maxsize=4096)
def _is_jointly_linear(plan: str, output: int, wrt: tuple[int, ...]) -> bool:
    """Whether the gradient to some inputs does not depend on any of them."""
    gradient = derivative_plan(plan, wrt, (output,))
    return not any(depends(gradient, number, wrt) for number in range(len(wrt)))


def _tangent_transpose(cotangents: Sequence[Any], *operands: Any, **parameters: Any) -> list[Any]:
    """Gradients to the tangents: the kernel of the vector-Jacobian product."""
    plan, wrt, of = (parameters[name] for name in ("plan", "wrt", "of"))
    inputs, topology, tangents = _parts(operands, **parameters)
    slots = [n for n, value in enumerate(tangents) if ad.is_undefined_primal(value)]
    chosen = tuple(wrt[n] for n in slots)
    places = tuple(len(inputs) + len(topology) + n for n in slots)
    return _transposed(inputs, topology, cotangents, plan, chosen, of, places, len(operands))


def _transposed(
    inputs: Sequence[Any],
    topology: Sequence[Any],
    cotangents: Sequence[Any],
    plan: str,
    wrt: tuple[int, ...],
    of: tuple[int, ...],
    places: tuple[int, ...],
    count: int,
) -> list[Any]:
    """Gradients to the inputs `wrt`, at `places` among `count` values; None elsewhere."""
    results: list[Any] = [None] * count
    pairs = [(n, g) for n, g in zip(of, cotangents, strict=True) if not isinstance(g, ad.Zero)]
    if pairs and wrt:
        found = kernel_p.bind(
            *inputs,
            *(cotangent for _, cotangent in pairs),
            *topology,
            plan=derivative_plan(plan, wrt, tuple(number for number, _ in pairs)),
            num_topology=len(topology),
        )
        for place, value in zip(places, found, strict=True):
            results[place] = value
    return results


def _tangent_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], **parameters: Any
) -> tuple[list[Any], list[Any]]:
    """The tangents, and theirs: one part is linear in the tangents, one moves with the inputs."""
    of, wrt = parameters["of"], parameters["wrt"]
    outputs = tangent_p.bind(*primals, **parameters)
    inputs, topology, given = _parts(primals, **parameters)
    moves, _, given_moves = _parts(tangents, **parameters)
    sums: list[Any] = [ad.Zero(jax.typeof(out).to_tangent_aval()) for out in outputs]
    directions = {
        number: move
        for number, move in zip(wrt, given_moves, strict=True)
        if not isinstance(move, ad.Zero)
    }
    chosen, kept = _coupled(parameters["plan"], directions, of)
    if kept:
        changed = parameters | {"wrt": chosen, "of": kept}
        linear = (directions[number] for number in chosen)
        found = tangent_p.bind(*inputs, *topology, *linear, **changed)
        for number, value in zip(kept, found, strict=True):
            sums[of.index(number)] = value
    moving = [n for n, move in enumerate(moves) if not isinstance(move, ad.Zero)]
    if moving:

        def function(*values: Any) -> list[Any]:
            filled = list(inputs)
            for number, value in zip(moving, values, strict=True):
                filled[number] = value
            return _tangent(*filled, *topology, *given, **parameters)

        _, found = jax.jvp(function, [inputs[n] for n in moving], [moves[n] for n in moving])
        sums = [ad.add_tangents(left, right) for left, right in zip(sums, found, strict=True)]
    return outputs, sums


def _kernel_batch(
    values: Sequence[Any], dims: Sequence[Any], *, plan: str, num_topology: int
) -> tuple[list[Any], list[int]]:
    """A batch of calls of a kernel."""
    facts = signature(plan)
    kinds = [rows for _, rows in facts.inputs]
    outputs = [rows for _, rows in facts.outputs]
    call = partial(kernel_p.bind, plan=plan, num_topology=num_topology)
    return batched_call(call, values, dims, kinds, outputs, has_edges=bool(num_topology))


def _tangent_batch(
    values: Sequence[Any], dims: Sequence[Any], **parameters: Any
) -> tuple[list[Any], list[int]]:
    """A batch of tangents."""
    facts = signature(parameters["plan"])
    kinds = [rows for _, rows in facts.inputs]
    kinds += [kinds[number] for number in parameters["wrt"]]
    outputs = [facts.outputs[number][1] for number in parameters["of"]]
    call = partial(tangent_p.bind, **parameters)
    has_edges = bool(parameters["num_topology"])
    return batched_call(call, values, dims, kinds, outputs, has_edges=has_edges)


def _refuse_platform(context: Any, *operands: Any, **parameters: Any) -> Any:
    """Says that there is no kernel for a GPU or TPU.

    Raises:
        UnsupportedError: always.
    """
    platforms = ", ".join(context.module_context.platforms)
    raise UnsupportedError(
        f"tvm_equi.jax: expected arrays on the CPU, got a computation for {platforms}; "
        "kernels for GPUs run in PyTorch, or set JAX_PLATFORMS=cpu"
    )


def _call_bound(primitive: Any, parameters: tuple[tuple[str, Any], ...], *operands: Any) -> Any:
    return primitive.bind(*operands, **dict(parameters))


_compiled = jax.jit(_call_bound, static_argnums=(0, 1))


def _evaluate(primitive: Any, *operands: Any, **parameters: Any) -> Any:
    """A call outside jit: compiled once for each shape."""
    return _compiled(primitive, tuple(sorted(parameters.items())), *operands)


def _register(
    primitive: Any, function: Any, types: Any, jvp: Any, transpose: Any, batch: Any
) -> None:
    primitive.multiple_results = True
    primitive.def_impl(partial(_evaluate, primitive))
    primitive.def_abstract_eval(types)
    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, _refuse_platform)
    lowering = mlir.lower_fun(function, multiple_results=True)
    mlir.register_lowering(primitive, lowering, platform="cpu")


_register(kernel_p, _kernel, _kernel_types, _kernel_jvp, _kernel_transpose, _kernel_batch)
_register(tangent_p, _tangent, _tangent_types, _tangent_jvp, _tangent_transpose, _tangent_batch)
