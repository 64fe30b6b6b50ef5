"""What accelerating does to the modules of mace-torch.

In: modules of a model that mace-torch (0.3.16) built or loaded. Out: rules for `accelerate`.
mace-torch's interaction blocks have a hook for convolutions that gather and sum (`conv_fusion`),
and it is used here. What is refused stays as it is, and the report says why.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from tvm_equi.errors import TvmEquiError
from tvm_equi.models.change import Change, Rule
from tvm_equi.models.compare import ROWS
from tvm_equi.models.mace.contraction import Contraction
from tvm_equi.models.mace.convolution import Convolution
from tvm_equi.models.mace.elements import ElementLinear
from tvm_equi.models.mace.names import BLOCKS, forward_of, is_a
from tvm_equi.models.mace.radial import BiasedRadialNet, RadialNet

INTERACTIONS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
    "RealAgnosticAttResidualInteractionBlock",
    "RealAgnosticResidualNonLinearInteractionBlock",
)
"""Blocks whose forward is known: weights of edges are multiplied by the cutoff and given to the
convolution, and nothing else."""

HOOK = "conv_fusion"
CONTRACTION = "mace.modules.symmetric_contraction.SymmetricContraction"
E3NN_PRODUCT = "e3nn.o3._tensor_product._tensor_product.TensorProduct"
E3NN_CONNECTED = "e3nn.o3._tensor_product._sub.FullyConnectedTensorProduct"
NETS: dict[str, type[torch.nn.Module]] = {
    "e3nn.nn._fc.FullyConnectedNet": RadialNet,
    "mace.modules.radial.RadialMLP": BiasedRadialNet,
}


def interaction(block: torch.nn.Module) -> Change | None:
    """The convolution, the radial network and the skip connection of an interaction block."""
    reason = reason_left(block)
    if reason is None:
        return None
    if reason:
        return Change(block, "left", reason, is_done=False)
    parts: Any = _copy(block)
    notes = ["gather, tensor product and sum over edges in one kernel"]
    parts.conv_tp = Convolution(parts.conv_tp)
    parts.conv_fusion = "tvm_equi"
    for name, kind in NETS.items():
        if is_a(parts.conv_tp_weights, name):
            net = _attempt(kind, parts.conv_tp_weights)
            if isinstance(net, str):
                notes.append(net)
            else:
                parts.conv_tp_weights = net
                notes.append("weights of edges computed inside")
    skip = getattr(block, "skip_tp", None)
    if skip is not None and is_a(skip, E3NN_CONNECTED):
        product = _attempt(ElementLinear, skip)
        if isinstance(product, str):
            notes.append(product)
        else:
            parts.skip_tp = product
            notes.append("skip connection by element")
    return Change(parts, "fused", "; ".join(notes), is_done=False)


def _copy(block: torch.nn.Module) -> torch.nn.Module:
    """A block with the same modules inside, in which they can be swapped: the old one stays."""
    new = copy.copy(block)
    vars(new)["_modules"] = dict(block._modules)
    return new


def reason_left(block: Any) -> str | None:
    """Why an interaction block is left; "" where it is not, None for another module.

    Args:
        block: any module.
    """
    if not is_a(block, f"{BLOCKS}.InteractionBlock"):
        return None
    defined = forward_of(block)
    if defined not in {f"{BLOCKS}.{name}" for name in INTERACTIONS}:
        return f"forward is that of {defined}, which is not known here"
    # A version of mace-torch without the hook calls conv_tp on gathered rows.
    if HOOK not in type(block).forward.__code__.co_consts:
        return f"this version of mace-torch has no {HOOK} in {defined}"
    if hasattr(block, HOOK) or not is_a(block.conv_tp, E3NN_PRODUCT):
        return f"has another accelerator: {type(block.conv_tp).__name__}"
    return ""


def contraction(module: torch.nn.Module) -> Change | None:
    """A symmetric contraction."""
    if not is_a(module, CONTRACTION):
        return None
    found = _attempt(Contraction, module)
    if isinstance(found, str):
        return Change(module, "left", found)
    return Change(found, "swapped", "over independent polynomials", example=_example(found))


def _example(contraction: Any) -> Callable[[], tuple[torch.Tensor, ...]]:
    """Makes arguments of a symmetric contraction: features as mace-torch shapes them, elements."""
    irreps, num_elements = contraction.irreps_in, contraction.num_elements
    like = next(contraction.parameters())

    def example() -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        shape = (ROWS, irreps[0].mul, sum(ir.dim for _, ir in irreps))
        x = torch.randn(shape, generator=generator).to(like)
        elements = torch.arange(ROWS) % num_elements
        return x, torch.nn.functional.one_hot(elements, num_elements).to(like)

    return example


def _attempt(
    make: Callable[[torch.nn.Module], torch.nn.Module], module: torch.nn.Module
) -> torch.nn.Module | str:
    """What goes in a module's place, or why nothing does."""
    try:
        return make(module)
    except TvmEquiError as error:
        return str(error)


RULES: tuple[Rule, ...] = (interaction, contraction)
"""In the order in which they are tried."""
