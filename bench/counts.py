"""Counted work of a tensor product: bytes that must move and multiply-adds that must run.

In: an e3nn module, a number of rows and a number of bytes per element. Out: `Work` of three
kernels:

- forward: reads x, y, w; writes z.
- backward: reads x, y, w and the cotangent g of z; writes the gradients gx, gy, gw.
- double backward: reads x, y, w, g and the cotangents a, b, c of gx, gy, gw; writes gradients to x,
  y, w, g.

**Bytes** count every input once and every output once. Weights that rows share count once in all.

**Multiply-adds** are those of the cheapest exact association that is considered, path by path. All
of them contract the Clebsch-Gordan tensor C first with the operand that has fewer channels (below:
y), once per row and channel of y: A[i,k] = sum_j C[i,j,k] y[j] costs nnz, the nonzeros of C. What
is left couples x with A over `ik`, the number of pairs (i,k) with some nonzero C[i,j,k], and
multiplies by weights. Either comes first:

| mode, order | first | second |
|---|---|---|
| uvu, weights first | U V d1 | U V ik |
| uvu, coupling first | U V ik | U V d3 |
| uvw, weights first | U V W d1 | V W ik |
| uvw, coupling first | U V ik | U V W d3 |

with U, V, W channels of x, y, z, and d1, d2, d3 components. For uvw the roles of x and y may also
be swapped (then d2 replaces d1, and pairs (j,k) replace (i,k)). Each kernel then costs per row:

- forward: 1 nnz + 1 first + 1 second.
- backward: 2 nnz + 3 first + 2 second. A, and the gradient to y from that of A; the first stage
  again, transposed, and its weight's gradient; the second stage transposed (for x and w) and for
  the gradient of A.
- double backward: 3 nnz + 7 first + 5 second. For uvu with weights first that is a closed form:
  with Ab = C b, v = A g, vb = Ab g and s = w a + c x, the gradients are w vb + c v to x, a v + x vb
  to w, A' s + Ab' (w x) to g, and to y the contraction of C with the outer product of s and g.

The backward kernel is thus a little more than twice the forward one, the double backward a little
more than twice that. Other associations, such as one that mixes orders within a path, may need
less; then a limit here is a little too long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from e3nn import o3

KERNELS = ("forward", "backward", "double backward")

FACTORS = {"forward": (1, 1, 1), "backward": (2, 3, 2), "double backward": (3, 7, 5)}
"""How often each kernel combines C with y, runs the first stage, and the second."""

ZERO = 1e-12
"""Entries of Wigner 3j symbols below this are rounding."""


@dataclass(frozen=True, slots=True)
class Coupling:
    """Sparsity of C[i,j,k]: nonzeros, and pairs of two indices that have one."""

    nnz: int
    ik: int
    jk: int


@lru_cache(maxsize=1024)
def coupling(l1: int, l2: int, l3: int) -> Coupling:
    """The sparsity of the real Wigner 3j symbol in e3nn's basis."""
    nonzero = o3.wigner_3j(l1, l2, l3, dtype=torch.float64).abs() > ZERO
    return Coupling(
        int(nonzero.sum()), int(nonzero.any(dim=1).sum()), int(nonzero.any(dim=0).sum())
    )


@dataclass(frozen=True, slots=True)
class Order:
    """Multiply-adds per row of one order of work: combining with C, the first stage, the second."""

    combine: int
    first: int
    second: int

    def macs(self, kernel: str) -> int:
        """Multiply-adds per row of a kernel."""
        combine, first, second = FACTORS[kernel]
        return combine * self.combine + first * self.first + second * self.second


def orders(mode: str, muls: tuple[int, int, int], degrees: tuple[int, int, int]) -> list[Order]:
    """The orders in which a path can be worked out.

    Args:
        mode: "uvu" or "uvw", with weights.
        muls: channels of x, y, z.
        degrees: l of x, y, z.

    Raises:
        ValueError: another mode.
    """
    u, v, w = muls
    d1, d2, d3 = (2 * degree + 1 for degree in degrees)
    facts = coupling(*degrees)
    if mode == "uvu":
        return [
            Order(v * facts.nnz, u * v * d1, u * v * facts.ik),
            Order(v * facts.nnz, u * v * facts.ik, u * v * d3),
        ]
    if mode == "uvw":
        return [
            Order(v * facts.nnz, u * v * w * d1, v * w * facts.ik),
            Order(v * facts.nnz, u * v * facts.ik, u * v * w * d3),
            Order(u * facts.nnz, u * v * w * d2, u * w * facts.jk),
            Order(u * facts.nnz, u * v * facts.jk, u * v * w * d3),
        ]
    raise ValueError(f"orders: mode: expected 'uvu' or 'uvw', got {mode!r}")


@dataclass(frozen=True, slots=True)
class Work:
    """What one run of a kernel must do at least."""

    num_bytes: int
    macs: int


def kernel_work(product: o3.TensorProduct, rows: int, itemsize: int) -> dict[str, Work]:
    """The work of each of `KERNELS`.

    Args:
        product: e3nn's module, with uvu and uvw paths.
        rows: of x, y, z, and of w unless weights are shared.
        itemsize: bytes per element.
    """
    x, y, z = (ir.dim for ir in (product.irreps_in1, product.irreps_in2, product.irreps_out))
    w = product.weight_numel / (rows if product.shared_weights else 1)
    elements = {
        "forward": x + y + w + z,
        "backward": 2 * (x + y + w) + z,
        "double backward": 3 * (x + y + w) + 2 * z,
    }
    choices = [path_orders(product, ins) for ins in product.instructions]
    return {
        kernel: Work(round(elements[kernel] * rows * itemsize), rows * cheapest(choices, kernel))
        for kernel in KERNELS
    }


def path_orders(product: o3.TensorProduct, instruction: o3.Instruction) -> list[Order]:
    """The orders in which one path of a module can be worked out."""
    ends = (
        product.irreps_in1[instruction.i_in1],
        product.irreps_in2[instruction.i_in2],
        product.irreps_out[instruction.i_out],
    )
    muls, degrees = zip(*((mul, ir.l) for mul, ir in ends), strict=True)
    return orders(instruction.connection_mode, muls, degrees)


def cheapest(choices: Iterable[list[Order]], kernel: str) -> int:
    """Multiply-adds per row of a kernel, each path in its cheapest order."""
    return sum(min(order.macs(kernel) for order in options) for options in choices)
