"""How a convolution of a graph runs in torch step by step, as a reference.

In: the operation, and how its parts run. Out: a function of the values that it reads, with a value
for every edge.
"""

from __future__ import annotations

import torch

from tvm_equi.graph.operations import Convolution
from tvm_equi.graph.types import IndexType, Type
from tvm_equi.nn.torch_library import TORCH
from tvm_equi.runtime.rules.call import Call, Rule
from tvm_equi.runtime.rules.convolution import last_matrix


def unfused_rule(
    operation: Convolution, types: list[Type], product: Rule, harmonics: Rule | None
) -> Rule:
    """The function that runs a convolution by its parts, with a value for every edge.

    Args:
        operation: to run.
        types: of its inputs.
        product: runs its product.
        harmonics: runs its spherical harmonics, where they are inside.
    """
    into = types[-1].into if isinstance(types[-1], IndexType) else ""

    def convolve(call: Call) -> torch.Tensor:
        values = operation.by_name(call.values)
        operands = [TORCH.take_rows(values["x"], values["senders"])]
        if harmonics is None:
            operands.append(values["y"])
        else:
            operands.append(harmonics(Call([values["vectors"]], call.num_rows)))
        if operation.radial is not None:
            operands.append(values["h"] @ last_matrix(operation.radial, values["last"], TORCH))
        elif "w" in values:
            operands.append(values["w"])
        messages = product(Call(operands, call.num_rows))
        total: torch.Tensor = TORCH.sum_rows(messages, values["receivers"], call.num_rows[into])
        return total * operation.factor

    return convolve
