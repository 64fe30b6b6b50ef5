"""The tensor products that are timed, as e3nn modules.

In: `workloads.json`. Out: frozen descriptions, and e3nn's module of each, which every contestant is
built from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from e3nn import o3

PATH = Path(__file__).with_name("workloads.json")

KINDS = ("channelwise", "fully_connected")


@dataclass(frozen=True, slots=True)
class Workload:
    """One tensor product.

    Args:
        name: of the model and layer that it comes from.
        kind: "channelwise" or "fully_connected".
        in1: irreps of x.
        in2: irreps of y.
        out: irreps of z; for "channelwise" those that a path may land in.
        shared_weights: one set of weights for all rows, instead of one per row.

    Raises:
        ValueError: an unknown kind.
    """

    name: str
    kind: str
    in1: str
    in2: str
    out: str
    shared_weights: bool = False

    def __post_init__(self) -> None:
        """Refuses an unknown kind."""
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind: expected one of {KINDS}, got {self.kind!r}")

    def build(self, dtype: torch.dtype = torch.float32) -> o3.TensorProduct:
        """e3nn's module, with weights passed at each call and constants exact in `dtype`."""
        with default_dtype(dtype):
            if self.kind == "fully_connected":
                return o3.FullyConnectedTensorProduct(
                    self.in1,
                    self.in2,
                    self.out,
                    internal_weights=False,
                    shared_weights=self.shared_weights,
                )
            out, instructions = channelwise_paths(self.in1, self.in2, self.out)
            return o3.TensorProduct(
                self.in1,
                self.in2,
                out,
                instructions,
                internal_weights=False,
                shared_weights=self.shared_weights,
            )


def channelwise_paths(
    in1: str, in2: str, out: str
) -> tuple[o3.Irreps, list[tuple[int, int, int, str, bool]]]:
    """Output irreps and instructions of a uvu product with one output slot per path.

    Args:
        in1: irreps of x.
        in2: irreps of y.
        out: the irreps that a path may land in; multiplicities are those of x.

    Returns:
        The slots sorted by irrep, and instructions in the order of their slots.

    Source: `tp_out_irreps_with_instructions` in mace/modules/irreps_tools.py; NequIP's interaction
        block does the same.
    """
    kept = o3.Irreps(out)
    slots: list[tuple[int, o3.Irrep]] = []
    paths: list[tuple[int, int, int]] = []
    for i, (mul, ir1) in enumerate(o3.Irreps(in1)):
        for j, (_, ir2) in enumerate(o3.Irreps(in2)):
            for ir_out in ir1 * ir2:
                if ir_out in kept:
                    paths.append((i, j, len(slots)))
                    slots.append((mul, ir_out))
    ordered, position, _ = o3.Irreps(slots).sort()
    instructions = [(i, j, position[slot], "uvu", True) for i, j, slot in paths]
    return ordered, sorted(instructions, key=lambda path: path[2])


@lru_cache(maxsize=1)
def load() -> tuple[Workload, ...]:
    """Every workload, in the order of the file."""
    data = json.loads(PATH.read_text(encoding="utf-8"))
    return tuple(Workload(**entry) for entry in data["tensor_products"])


def select(names: list[str] | None) -> tuple[Workload, ...]:
    """The workloads of the given names, or all.

    Raises:
        ValueError: a name that is not in the file.
    """
    known = {workload.name: workload for workload in load()}
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"--only: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    return tuple(known[name] for name in names or known)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets torch's default dtype, in which e3nn and cuEquivariance keep their constants."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)
