"""Counted work of a tensor product: bytes that must move and multiply-adds that must run.

In: an e3nn module, numbers of rows and a number of bytes per element. Out: `Work` of three kernels:

- forward: reads x, y, w; writes z.
- backward: reads x, y, w and the cotangent g of z; writes the gradients gx, gy, gw.
- double backward: reads x, y, w, g and the cotangents a, b, c of gx, gy, gw; writes gradients to x,
  y, w, g.

**Bytes** count every input once and every output once. Weights that rows share count once in all.
Over a graph, rows are edges; x and z have one row per node, which is taken to stay in cache while
edges read it or add to it.

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

Over a graph, a stage that does nothing but multiply by a matrix that all rows share runs once per
node: at the sender where it comes first, at the receiver where it comes second. Weights may be the
product of a row h with a matrix that rows share, the last layer of a radial MLP: h and the matrix
then take the place of w, and their product runs 1, 3 and 7 times in the three kernels, each of
which computes w again.
"""

from __future__ import annotations

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
class Rows:
    """How many rows there are of y and of the product, of x, and of z.

    Args:
        edges: rows of y, and of w unless weights are shared.
        senders: rows of x.
        receivers: rows of z.
    """

    edges: int
    senders: int
    receivers: int

    @staticmethod
    def alike(count: int) -> Rows:
        """Those of a product that has no graph."""
        return Rows(count, count, count)


@dataclass(frozen=True, slots=True)
class Order:
    """Multiply-adds per row of one order of work: combining with C, the first stage, the second.

    Args:
        combine: per row.
        first: per row.
        second: per row.
        matrix: the nodes on which the stage that is a matrix alone acts, if there is one:
            "senders" for the first stage, "receivers" for the second.
    """

    combine: int
    first: int
    second: int
    matrix: str = ""

    def macs(self, kernel: str, rows: Rows, *, shared_weights: bool = False) -> int:
        """Multiply-adds of a kernel on all rows."""
        combine, first, second = FACTORS[kernel]
        on = self.matrix if shared_weights else ""
        return (
            combine * self.combine * rows.edges
            + first * self.first * (rows.senders if on == "senders" else rows.edges)
            + second * self.second * (rows.receivers if on == "receivers" else rows.edges)
        )


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
            Order(v * facts.nnz, u * v * w * d1, v * w * facts.ik, "senders"),
            Order(v * facts.nnz, u * v * facts.ik, u * v * w * d3, "receivers"),
            Order(u * facts.nnz, u * v * w * d2, u * w * facts.jk),
            Order(u * facts.nnz, u * v * facts.jk, u * v * w * d3, "receivers"),
        ]
    raise ValueError(f"orders: mode: expected 'uvu' or 'uvw', got {mode!r}")


@dataclass(frozen=True, slots=True)
class Work:
    """What one run of a kernel must do at least."""

    num_bytes: int
    macs: int


def kernel_work(
    product: o3.TensorProduct, rows: int | Rows, itemsize: int, hidden: int | None = None
) -> dict[str, Work]:
    """The work of each of `KERNELS`.

    Args:
        product: e3nn's module, with uvu and uvw paths.
        rows: of the operands; a number where they are alike.
        itemsize: bytes per element.
        hidden: entries of h in a row, where weights are h times a matrix.
    """
    rows = Rows.alike(rows) if isinstance(rows, int) else rows
    x = rows.senders * product.irreps_in1.dim
    y = rows.edges * product.irreps_in2.dim
    z = rows.receivers * product.irreps_out.dim
    w = product.weight_numel * (1 if product.shared_weights else rows.edges)
    radial = 0
    if hidden is not None:
        w = hidden * (rows.edges + product.weight_numel)
        radial = rows.edges * hidden * product.weight_numel
    elements = {
        "forward": x + y + w + z,
        "backward": 2 * (x + y + w) + z,
        "double backward": 3 * (x + y + w) + 2 * z,
    }
    choices = [path_orders(product, ins) for ins in product.instructions]
    return {
        kernel: Work(
            elements[kernel] * itemsize,
            sum(
                min(order.macs(kernel, rows, shared_weights=product.shared_weights) for order in of)
                for of in choices
            )
            + FACTORS[kernel][1] * radial,
        )
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
