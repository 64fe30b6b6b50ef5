"""Products with one-hot attributes of nodes: a linear layer for each chemical element.

In: e3nn's fully connected tensor product of features and one-hot attributes, as MACE's skip
connections have it. Out: a module in which the rows of each element are multiplied by that
element's matrix. Attributes that are not one-hot, or that need a gradient, take the general
product; both give the same numbers. Captures know no values: there `one_hot` says what attributes
are. Refused: a second input that is more than scalars of one kind.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor

from tvm_equi.algebra.convolution import indexed_kernel
from tvm_equi.algebra.products import linear_kernel
from tvm_equi.errors import UnsupportedError
from tvm_equi.models.mace.recent import Recent
from tvm_equi.models.mace.state import take_state
from tvm_equi.nn.arguments import degrees
from tvm_equi.nn.products import FullyConnectedTensorProduct
from tvm_equi.runtime.convolution import convolve
from tvm_equi.runtime.topology import Topology
from tvm_equi.runtime.torch_op import run


class Elements(NamedTuple):
    """The rows of each element, of one-hot attributes.

    Args:
        chosen: [elements that occur, elements], one-hot: which those are.
        of_rows: [rows, elements that occur], one-hot: which each row is of.
        counts: rows of each element that occurs.
        order: int64 [rows], rows sorted by element; None where they are sorted already.
        inverse: int64 [rows], the place of each row in `order`; None likewise.

    Elements are chosen by products with one-hot matrices, not by index: the derivative of a choice
    is then a product too, where torch adds rows by index on one thread.
    """

    chosen: torch.Tensor
    of_rows: torch.Tensor
    counts: tuple[int, ...]
    order: torch.Tensor | None
    inverse: torch.Tensor | None


_KNOWN: Recent[Elements | None] = Recent()

_local = threading.local()


class Index:
    """Attributes that are the one-hot form of an index.

    Args:
        attributes: [rows, elements].
        index: int64 [rows], the element of each.
    """

    def __init__(self, attributes: torch.Tensor, index: torch.Tensor) -> None:
        self.attributes, self.index = attributes, index

    @cached_property
    def topology(self) -> Topology:
        """An edge from its element to each row."""
        num_rows, num_elements = self.attributes.shape
        rows = torch.arange(num_rows, device=self.index.device)
        return Topology(torch.stack([self.index, rows]), (num_elements, num_rows))


@contextmanager
def one_hot(attributes: torch.Tensor, index: torch.Tensor) -> Iterator[None]:
    """Says inside of which index attributes are the one-hot form, for captures of models.

    Args:
        attributes: [rows, elements], this very tensor.
        index: int64 [rows], the element of each.
    """
    before = getattr(_local, "index", None)
    _local.index = Index(attributes, index)
    try:
        yield
    finally:
        _local.index = before


def index_of(attributes: torch.Tensor) -> Index | None:
    """What `one_hot` says of attributes; None where it says nothing.

    Args:
        attributes: [rows, elements].
    """
    found: Index | None = getattr(_local, "index", None)
    return found if found is not None and found.attributes is attributes else None


def elements_of(attributes: torch.Tensor) -> Elements | None:
    """The rows of each element; None where attributes are not one-hot, or need a gradient.

    torch.compile and `tvm_equi.export`, which know no values, get None too.

    Args:
        attributes: [rows, elements].
    """
    if (
        torch.compiler.is_compiling()
        or isinstance(attributes, FakeTensor)
        or attributes.requires_grad
        or attributes.dim() != 2
        or not attributes.numel()
    ):
        return None
    return _KNOWN.get(attributes, None, lambda: _find(attributes))


def _find(attributes: torch.Tensor) -> Elements | None:
    highest, index = attributes.max(dim=1)
    if not bool((highest == 1).all()) or int(attributes.count_nonzero()) != len(index):
        return None
    present, place, counts = torch.unique(index, return_inverse=True, return_counts=True)
    chosen = attributes.new_zeros((len(present), attributes.shape[1]))
    chosen[torch.arange(len(present), device=present.device), present] = 1
    known = (chosen, attributes[:, present].contiguous(), tuple(counts.tolist()))
    if bool((place.diff() >= 0).all()):
        return Elements(*known, None, None)
    order = torch.argsort(place, stable=True)
    return Elements(*known, order, torch.argsort(order))


class _Permute(torch.autograd.Function):
    """`_Permute.apply(x, order, inverse)` gives x[order].

    Its derivative takes rows too; torch's, which does not know that they are permuted, adds them.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, order: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        return x.index_select(0, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        order, inverse = ctx.saved_tensors
        return _permuted(grads[0], inverse, order), None, None


def _permuted(x: torch.Tensor, order: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """x[order]."""
    found: torch.Tensor = _Permute.apply(x, order, inverse)  # type: ignore[no-untyped-call]
    return found


class ElementLinear(torch.nn.Module):
    """e3nn's `FullyConnectedTensorProduct` with one-hot attributes.

    Args:
        product: an `e3nn.o3.FullyConnectedTensorProduct` with weights of its own; its state is
            kept.

    Raises:
        UnsupportedError: its second input is more than scalars of one kind, or it has no weights of
            its own.
    """

    weight: torch.Tensor

    def __init__(self, product: Any) -> None:
        super().__init__()
        scalars = [(ir.l, ir.p) for _, ir in product.irreps_in2]
        if scalars != [(0, 1)] or not product.internal_weights:
            raise UnsupportedError(
                "ElementLinear: product: expected one with weights of its own and a second input "
                f"of even scalars, got {product}"
            )
        take_state(self, product)
        self.irreps_in1, self.irreps_in2 = product.irreps_in1, product.irreps_in2
        self.irreps_out, self.weight_numel = product.irreps_out, product.weight_numel
        self._shapes = [tuple(ins.path_shape) for ins in product.instructions]
        # The coupling of degree l to a scalar is a unit matrix over the root of 2l + 1.
        paths = tuple(
            (ins.i_in1, ins.i_out, ins.path_weight / self.irreps_out[ins.i_out].ir.dim ** 0.5)
            for ins in product.instructions
        )
        kernel = linear_kernel(
            degrees(self.irreps_in1), degrees(self.irreps_out), paths, weight_rows="shared"
        )
        self._plan = kernel.plan() if self.weight_numel else None
        by_row = linear_kernel(
            degrees(self.irreps_in1), degrees(self.irreps_out), paths, weight_rows="row"
        )
        self._indexed_plan = indexed_kernel(by_row, "w").plan()
        self._general = (_without_weights(product),)

    def __repr__(self) -> str:
        """Irreps and the number of weights."""
        return (
            f"{type(self).__name__}({self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out} "
            f"| {self.weight_numel} weights)"
        )

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The product.

        Args:
            x: [rows, irreps_in1.dim].
            y: [rows, elements].

        Returns:
            [rows, irreps_out.dim].

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong dtype.
        """
        known = index_of(y)
        if known is not None and self._plan is not None:
            return convolve(self._indexed_plan, [x, self._matrices()], known.topology)[0]
        elements = elements_of(y) if x.shape[:-1] == y.shape[:-1] else None
        if elements is None or self._plan is None or y.shape[-1] != self.irreps_in2.dim:
            found: torch.Tensor = self._general[0](x, y, self.weight)
            return found
        weights = self._weights(elements.chosen)
        order, inverse = elements.order, elements.inverse
        rows = x if order is None or inverse is None else _permuted(x, order, inverse)
        parts = [
            run(self._plan, [part, weight])[0]
            for part, weight in zip(rows.split(elements.counts), weights, strict=True)
        ]
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
        return out if order is None or inverse is None else _permuted(out, inverse, order)

    def _weights(self, chosen: torch.Tensor) -> list[torch.Tensor]:
        """The matrices of the elements that occur."""
        sizes = [u * v * w for u, v, w in self._shapes]
        blocks = [
            (chosen @ block.view(shape)).transpose(0, 1).flatten(1)
            for block, shape in zip(self.weight.split(sizes), self._shapes, strict=True)
        ]
        return list(torch.cat(blocks, dim=1).unbind())

    def _matrices(self) -> torch.Tensor:
        """[elements, weights of each]."""
        sizes = [u * v * w for u, v, w in self._shapes]
        blocks = [
            block.view(shape).transpose(0, 1).flatten(1)
            for block, shape in zip(self.weight.split(sizes), self._shapes, strict=True)
        ]
        return torch.cat(blocks, dim=1)


def _without_weights(product: Any) -> FullyConnectedTensorProduct:
    """The general product, to which weights are given."""
    general = FullyConnectedTensorProduct.from_e3nn(product)
    general.internal_weights = False
    del general.weight
    general.register_buffer("weight", torch.Tensor())
    return general
