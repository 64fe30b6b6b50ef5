"""What the modules that own weights share: flags, state, views.

In: e3nn's `internal_weights` and `shared_weights`, and the shape of each instruction's weights.
Out: a base class whose state dict is e3nn's. Refused: weights that are missing, given although the
module has its own, or of a wrong shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch
from e3nn.o3 import Irreps

from tvm_equi.errors import ArgumentError
from tvm_equi.nn.arguments import check_operand


class WeightedModule(torch.nn.Module):
    """A module with e3nn's `weight` and `output_mask`.

    A subclass sets `instructions`, `irreps_out`, `internal_weights` and `shared_weights`, then
    calls `_register_state`.
    """

    instructions: Sequence[Any]
    irreps_out: Irreps
    internal_weights: bool
    shared_weights: bool
    weight_numel: int
    weight: torch.Tensor
    output_mask: torch.Tensor

    def _has_weight(self, instruction: Any) -> bool:
        """Whether weights multiply an instruction."""
        raise NotImplementedError

    def _is_active(self, instruction: Any) -> bool:
        """Whether an instruction adds something to its output."""
        return 0 not in instruction.path_shape

    def _register_state(self, weight: torch.Tensor | None) -> None:
        """Registers weights, None for no own ones, and the mask of outputs that are computed."""
        if weight is None:
            self.register_buffer("weight", torch.Tensor())
        else:
            self.weight = torch.nn.Parameter(weight)
        active = {ins.i_out for ins in self.instructions if self._is_active(ins)}
        blocks = [
            torch.full((mul_ir.dim,), float(index in active))
            for index, mul_ir in enumerate(self.irreps_out)
        ]
        self.register_buffer("output_mask", torch.cat(blocks) if blocks else torch.ones(0))

    def _owns_weights(self) -> bool:
        return self.internal_weights and self.weight_numel > 0

    def _copy_state(self, module: Any) -> None:
        """Registers copies of what an e3nn module holds, dtype and `requires_grad` included."""
        weight = module.weight.detach().clone()
        self._register_state(weight if self._owns_weights() else None)
        self.weight.requires_grad_(module.weight.requires_grad)
        self.output_mask = module.output_mask.detach().clone()
        self.train(module.training)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Skips the constants that e3nn's generated code keeps in its state dict.

        A module that took an e3nn module's place in a model holds them, and loads them.
        """
        for key in list(state_dict):
            child = key.removeprefix(prefix).partition(".")[0]
            if child.startswith("_compiled_main") and child not in self._modules:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _resolve_weight(
        self,
        argument: str,
        given: torch.Tensor | None,
        shape: tuple[int, ...],
        like: torch.Tensor,
    ) -> torch.Tensor:
        """The module's own tensor or the given one, checked.

        Args:
            argument: its name, which is also that of the module's own.
            given: what `forward` got.
            shape: of one set of weights; leading dimensions come before it where weights are not
                shared.
            like: the first input.

        Raises:
            ArgumentError: missing, given twice, or of a wrong shape.
        """
        where = type(self).__name__
        if self.internal_weights:
            if given is not None:
                raise ArgumentError(
                    f"{where}: {argument}: expected None where internal_weights is True, "
                    "got a second set; construct the module with internal_weights=False to pass it"
                )
            return check_operand(where, argument, getattr(self, argument), shape[-1], like)
        if given is None:
            raise ArgumentError(
                f"{where}: {argument}: expected a tensor of shape {self._wanted(shape)} "
                "where internal_weights is False, got None"
            )
        check_operand(where, argument, given, shape[-1], like)
        num_leading = given.dim() - len(shape)
        if (
            num_leading < 0
            or given.shape[num_leading:] != shape
            or (num_leading == 0) != self.shared_weights
        ):
            raise ArgumentError(
                f"{where}: {argument}: expected shape {self._wanted(shape)} "
                f"where shared_weights is {self.shared_weights}, got {list(given.shape)}"
            )
        return given

    def _wanted(self, shape: tuple[int, ...]) -> str:
        """The shape of weights, as an error says it."""
        sizes = ", ".join(str(size) for size in shape)
        return f"[{sizes}]" if self.shared_weights else f"[..., {sizes}]"

    def _weight_for_views(self, weight: torch.Tensor | None) -> torch.Tensor:
        """The weights that a view is wanted of.

        Raises:
            ArgumentError: there are none, or their last dimension is wrong.
        """
        where = type(self).__name__
        if weight is None:
            if self.weight_numel > 0 and not self.internal_weights:
                raise ArgumentError(
                    f"{where}: weight: expected a tensor of shape [..., {self.weight_numel}] "
                    "where internal_weights is False, got None"
                )
            return self.weight
        if weight.dim() == 0 or weight.shape[-1] != self.weight_numel:
            raise ArgumentError(
                f"{where}: weight: expected shape [..., {self.weight_numel}], "
                f"got {list(weight.shape)}"
            )
        return weight

    def weight_views(
        self, weight: torch.Tensor | None = None, yield_instruction: bool = False
    ) -> Iterator[Any]:
        """Views of the weights of each instruction that has some.

        Args:
            weight: [..., weight_numel]; the module's own where None.
            yield_instruction: whether to give (index, instruction, view) in place of the view.

        Yields:
            Views of shape [..., *instruction.path_shape].

        Raises:
            ArgumentError: weights are missing or of a wrong shape.
        """
        weight = self._weight_for_views(weight)
        offset = 0
        for index, instruction in enumerate(self.instructions):
            if not self._has_weight(instruction):
                continue
            size = prod(instruction.path_shape)
            view = weight.narrow(-1, offset, size).view(weight.shape[:-1] + instruction.path_shape)
            offset += size
            yield (index, instruction, view) if yield_instruction else view

    def weight_view_for_instruction(
        self, instruction: int, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The view of one instruction's weights.

        Args:
            instruction: its index.
            weight: [..., weight_numel]; the module's own where None.

        Raises:
            ArgumentError: the instruction has no weights, or weights are missing or of a wrong
                shape.
        """
        for index, _, view in self.weight_views(weight, yield_instruction=True):
            if index == instruction:
                found: torch.Tensor = view
                return found
        weighted = [n for n, ins in enumerate(self.instructions) if self._has_weight(ins)]
        raise ArgumentError(
            f"{type(self).__name__}: instruction: expected one with weights, of {weighted}, "
            f"got {instruction}"
        )
