"""Tensors side by side, in a form that TVM's schedules compute where it is read.

In: Relax's operator concat. Out: its legalisation, for `relax.transform.LegalizeOps`. TVM's own
reads at negative places in the branch that is not taken; a schedule then cannot tell that a tensor
which is part of it has been computed, and stores it.
"""

from __future__ import annotations

from typing import Any

from tvm import te, tirx


def legalize_concat(builder: Any, call: Any) -> Any:
    """Tensors side by side, of which none is read out of its range, even in what is not chosen.

    Args:
        builder: of the function.
        call: of the operator.
    """
    axis = int(call.attrs.axis.value if hasattr(call.attrs.axis, "value") else call.attrs.axis)

    def compute(*tensors: Any) -> Any:
        rank = len(tensors[0].shape)
        along = axis % rank
        sizes = [tensor.shape[along] for tensor in tensors]

        def read(*place: Any) -> Any:
            start, found = sum(sizes[:-1]), None
            for number in reversed(range(len(tensors))):
                own = place[along] - start
                inside = tirx.max(tirx.min(own, sizes[number] - 1), 0)
                value = tensors[number](*place[:along], inside, *place[along + 1 :])
                found = (
                    value if found is None else tirx.if_then_else(own < sizes[number], value, found)
                )
                if number:
                    start = start - sizes[number - 1]
            return found

        shape = [*tensors[0].shape]
        shape[along] = sum(sizes)
        return te.compute(shape, read, name="concat")

    return builder.call_te(compute, *call.args[0].fields, primfunc_name_hint="concat")
