"""torch as the library of arrays that rules of a graph run in."""

from __future__ import annotations

import torch

from tvm_equi.graph import operations
from tvm_equi.nn.spherical_harmonics import SphericalHarmonics
from tvm_equi.runtime.convolution import convolve
from tvm_equi.runtime.rules.library import ArrayLibrary
from tvm_equi.runtime.topology import Topology
from tvm_equi.runtime.torch_op import run


def _sum_rows(values: torch.Tensor, index: torch.Tensor, num_rows: int) -> torch.Tensor:
    return values.new_zeros((num_rows, values.shape[1])).index_add(0, index, values)


def _harmonics(operation: operations.SphericalHarmonics) -> SphericalHarmonics:
    degrees = list(operation.degrees)
    return SphericalHarmonics(degrees, operation.normalize, operation.normalization)


TORCH = ArrayLibrary(
    functions={
        "silu": torch.nn.functional.silu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "relu": torch.relu,
        "abs": torch.abs,
        "identity": lambda x: x,
    },
    zeros=lambda like, shape: like.new_zeros(shape),
    ones=lambda like, shape: like.new_ones(shape),
    count_to=lambda like, num: torch.arange(1, num + 1, dtype=like.dtype, device=like.device),
    concat=lambda tensors: torch.cat(tensors, dim=-1),
    einsum=torch.einsum,
    sin=torch.sin,
    take_rows=lambda values, index: values.index_select(0, index),
    sum_rows=_sum_rows,
    length=lambda values, axis: torch.linalg.vector_norm(values, dim=axis),
    unit_vectors=lambda vectors: torch.nn.functional.normalize(vectors, dim=-1),
    harmonics=_harmonics,
    run=run,
    convolve=convolve,
    topology=lambda indices, counts, check: Topology(torch.stack(indices), counts, check),
)
