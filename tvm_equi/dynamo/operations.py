"""What captured modules become: modules without weights of their own, looked up by number.

In: an e3nn module. Out: the module here that computes the same from its operands and the weights
that are given to it, under a number that can stand in a graph. Weights stay with e3nn's module, so
that what is trained, loaded or moved is what is used. Refused: what `from_e3nn` refuses, in words.
"""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from e3nn import o3
from e3nn.nn import Extract

from tvm_equi.errors import TvmEquiError, UnsupportedError
from tvm_equi.nn.from_e3nn import from_e3nn
from tvm_equi.nn.spherical_harmonics import SphericalHarmonics
from tvm_equi.nn.weights import WeightedModule

CLASSES: dict[type[torch.nn.Module], str] = {
    o3.TensorSquare: "square",
    o3.TensorProduct: "product",
    o3.Linear: "linear",
    o3.SphericalHarmonics: "harmonics",
    Extract: "extract",
}
"""The classes that are captured, with their subclasses, and how each is called. A class comes after
those that derive from it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a module.

    Args:
        kind: how it is called, one of the values of `CLASSES`; "" where it is left alone.
        key: number of the operation.
        weights: names of the parameters that it reads where the caller gives none.
        reason: why it is left alone.
    """

    kind: str
    key: int = -1
    weights: tuple[str, ...] = ()
    reason: str = ""


class Blocks(torch.nn.Module):
    """Chosen blocks of columns, side by side: what e3nn's `Extract` computes.

    Args:
        extract: with several outputs.
    """

    def __init__(self, extract: Any) -> None:
        super().__init__()
        slices = extract.irreps_in.slices()
        self.blocks = tuple(
            tuple((slices[number].start, slices[number].stop) for number in numbers)
            for numbers in extract.instructions
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs."""
        return tuple(
            torch.cat([x[..., start:stop] for start, stop in blocks], dim=-1)
            if blocks
            else x[..., :0]
            for blocks in self.blocks
        )


_decisions: weakref.WeakKeyDictionary[torch.nn.Module, Decision] = weakref.WeakKeyDictionary()
_operations: dict[int, torch.nn.Module] = {}
_numbers = itertools.count()


def decide(module: torch.nn.Module) -> Decision:
    """What becomes of an e3nn module; the same each time.

    Args:
        module: of one of `CLASSES`.
    """
    found = _decisions.get(module)
    if found is None:
        found = _decide(module)
        _decisions[module] = found
    return found


def harmonics(degrees: Any, normalize: bool, normalization: str) -> Decision:
    """The decision about a call of `o3.spherical_harmonics`, which has no module.

    Args:
        degrees: a degree, several, or irreps.
        normalize: whether vectors are projected onto the unit sphere first.
        normalization: of the harmonics.
    """
    if not isinstance(degrees, (int, str, o3.Irreps)):
        degrees = tuple(degrees)
    return _harmonics(degrees, normalize, normalization)


@lru_cache(maxsize=256)
def _harmonics(degrees: Any, normalize: bool, normalization: str) -> Decision:
    try:
        made = SphericalHarmonics(degrees, normalize, normalization)
    except TvmEquiError as error:
        return Decision("", reason=str(error))
    return Decision("harmonics", _add(made))


def _add(made: torch.nn.Module) -> int:
    """A new number for an operation."""
    key = next(_numbers)
    _operations[key] = made
    return key


def operation(key: int) -> torch.nn.Module:
    """The module of a number.

    Args:
        key: from a `Decision`.
    """
    return _operations[key]


def _decide(module: torch.nn.Module) -> Decision:
    """What becomes of a module that is seen for the first time."""
    known = next(known for known in CLASSES if isinstance(module, known))
    if isinstance(module, Extract) and (type(module) is not Extract or len(module.irreps_outs) < 2):
        return Decision("")  # whether it gives a tuple is not kept; nothing is lost
    reason = _why_left(module, known)
    if reason:
        return Decision("", reason=reason)
    try:
        made = Blocks(module) if known is Extract else _without_weights(from_e3nn(module))
    except TvmEquiError as error:
        return Decision("", reason=str(error))
    key = _add(made)
    weakref.finalize(module, _operations.pop, key, None)
    return Decision(CLASSES[known], key, _weights(module))


def _why_left(module: torch.nn.Module, known: type[torch.nn.Module]) -> str:
    """Why a module can not be captured; "" where it can."""
    name = type(module).__name__
    if not {"irreps_out", "irreps_outs"} & set(module.__dict__):  # dynamo traces its constructor
        return f"{name} is constructed inside the compiled function; construct it once, outside"
    if type(module).forward is not known.forward:
        return f"{name} defines a forward of its own"
    return ""


def _without_weights(module: Any) -> torch.nn.Module:
    """The module, which from now on must be given its weights."""
    if isinstance(module, WeightedModule):
        module.internal_weights = False
        for name in [*module._parameters, *module._buffers]:
            delattr(module, name)  # inductor asks dynamo where each comes from
    return module.eval()  # type: ignore[no-any-return]


def _weights(module: Any) -> tuple[str, ...]:
    """Names of the parameters that a module reads itself."""
    if not getattr(module, "internal_weights", False):
        return ()
    return tuple(name for name in ("weight", "bias") if getattr(module, f"{name}_numel", 0))


def call_operation(key: int, *operands: Any) -> Any:
    """The result of an operation: what stands in a traced graph for a module of e3nn.

    Args:
        key: of the operation.
        *operands: of its module.

    Raises:
        UnsupportedError: the operation's module is gone.
    """
    if key not in _operations:
        raise UnsupportedError(
            f"tvm_equi.dynamo: operation {key}: expected its e3nn module to be alive, got none"
        )
    return _operations[key](*operands)


torch.compiler.allow_in_graph(call_operation)
