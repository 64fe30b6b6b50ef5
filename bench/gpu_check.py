"""The data of a case, and e3nn's values of them in float64, piece by piece.

In: a case and a device. Out: tensors, the same in each run; and the largest error of what a
contestant returned. Everything is a sum over edges, or has a row per edge, so that e3nn's values
of a range of edges can be computed alone: values for a million edges would not fit.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bench.convolvers import Unfused
from bench.convolvers import unfused_bytes as estimate
from bench.gpu_plan import READS, RETURNS, ROLES, GpuCase
from bench.passes import PASSES, Tensors, larger

PIECE_BYTES = 4 << 30
"""What e3nn may hold for a range of edges."""

Outputs = tuple[Tensor, ...]


def tensors_of(case: GpuCase, pass_name: str, device: torch.device) -> Tensors:
    """What a pass reads, in e3nn's convention: normal random numbers, made on the device.

    Args:
        case: whose operands they are.
        pass_name: which needs cotangents, or not.
        device: of all.
    """
    dtype = getattr(torch, case.dtype)
    count = len(READS[pass_name])
    found = []
    for seed, role in enumerate(ROLES[:count]):
        generator = torch.Generator(device=device).manual_seed(seed)
        shape = case.tensor_shape(role)
        found.append(torch.randn(shape, dtype=dtype, device=device, generator=generator))
    g = found[3] if count > 3 else found[0].new_empty((0, *case.tensor_shape("z")[1:]))
    return Tensors(tuple(found[:3]), g, tuple(found[4:]))


def largest_error(
    case: GpuCase, pass_name: str, tensors: Tensors, outputs: Outputs, most: int = PIECE_BYTES
) -> float:
    """The largest difference to e3nn in float64, of any value relative to its largest entry.

    Args:
        case: what was computed.
        pass_name: one of `PASSES`.
        tensors: that were read, in e3nn's convention.
        outputs: that were returned, in e3nn's convention.
        most: bytes that e3nn may hold.

    Returns:
        The error; infinity where a value is not finite.

    Raises:
        ValueError: another number of values, or another shape.
    """
    roles = RETURNS[pass_name]
    shapes = [case.tensor_shape(role) for role in roles]
    if [tuple(each.shape) for each in outputs] != shapes:
        raise ValueError(f"expected shapes {shapes}, got {[tuple(each.shape) for each in outputs]}")
    module = case.workload.build(torch.float64).to(tensors.inputs[0].device)
    piece = max(1, most // max(1, estimate(module, 1, 8, pass_name)))
    sums: dict[int, Tensor] = {}
    differences, scales = [0.0] * len(roles), [0.0] * len(roles)

    def compare(number: int, found: Tensor, wanted: Tensor) -> None:
        difference = float((found - wanted).abs().max()) if wanted.numel() else 0.0
        differences[number] = larger(differences[number], difference)
        scale = float(wanted.abs().max()) if wanted.numel() else 0.0
        scales[number] = larger(scales[number], scale)

    for start in range(0, case.shape.edges, piece):
        rows = slice(start, start + piece)
        values = _reference(case, module, pass_name, tensors, rows)
        for number, (role, value) in enumerate(zip(roles, values, strict=True)):
            if case.is_sliced(role):
                compare(number, outputs[number][rows], value)
            else:
                sums[number] = sums[number] + value if number in sums else value
    for number, value in sums.items():
        compare(number, outputs[number], value)
    tiny = torch.finfo(torch.float64).tiny
    worst = 0.0
    for difference, scale in zip(differences, scales, strict=True):
        worst = larger(worst, difference / max(scale, tiny))
    return worst


def _reference(
    case: GpuCase, module: torch.nn.Module, pass_name: str, tensors: Tensors, rows: slice
) -> Outputs:
    """e3nn's values of a range of edges in float64."""

    def part(role: str, tensor: Tensor) -> Tensor:
        return (tensor[rows] if case.is_sliced(role) else tensor).detach().double()

    inputs = tuple(
        part(role, each).requires_grad_() for role, each in zip("xyw", tensors.inputs, strict=True)
    )
    cotangents = tuple(
        part(role, each) for role, each in zip("xyw", tensors.cotangents, strict=False)
    )
    given = Tensors(inputs, part("z", tensors.g).requires_grad_(), cotangents)
    product = module
    if case.shape.graph is not None:
        graph = case.shape.graph
        edges = graph.edge_index[:, rows].to(inputs[0].device)
        product = Unfused(module, replace(graph, edge_index=edges))
    return PASSES[pass_name](product, given)
