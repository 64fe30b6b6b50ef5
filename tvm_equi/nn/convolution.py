"""The graph convolution of equivariant networks: gather, tensor product and sum in one kernel.

In: what `TensorProduct` takes, and the edges of a graph. Out: for each receiver the sum of the
tensor products of its edges; values per edge are never stored. Refused: indices out of range, and
rows that do not match the edges.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch

from tvm_equi.algebra.harmonics import NORMALIZATIONS
from tvm_equi.errors import ArgumentError
from tvm_equi.nn.arguments import check_operand, parse_choice
from tvm_equi.nn.spherical_harmonics import SphericalHarmonics
from tvm_equi.nn.stages import radial_blocks, run_stages, stage_plans
from tvm_equi.nn.tensor_product import TensorProduct, Weight
from tvm_equi.runtime.devices import is_on_gpu
from tvm_equi.runtime.topology import Topology

if TYPE_CHECKING:
    from typing_extensions import Self


class TensorProductConv(TensorProduct):
    """Sum over each node's edges of tensor products of the neighbours' features.

    z[i] = sum over edges e = (j -> i) of TensorProduct(x[j], edge_attr[e], weight[e]), as
    e3nn's `TensorProduct` on gathered rows followed by a scatter sum, without their memory.

    Args:
        irreps_in1: irreps of the features of senders.
        irreps_in2: irreps of the edges' attributes.
        irreps_out: irreps of the output.
        instructions: as for `TensorProduct`.
        fuse_radial: whether `radial` and `last` are multiplied inside the kernel; else weights per
            edge are computed first, with the same result; by default inside on the CPU, and first
            on a GPU, by torch's matrix product.
        fuse_harmonics: whether the harmonics of `edge_vectors` are computed inside the kernel.
        harmonics_normalization: of the harmonics of `edge_vectors`: "component", "integral" or
            "norm".
        normalize: whether `edge_vectors` are projected onto the unit sphere first; a zero vector
            stays zero.
        **options: other arguments of `TensorProduct`, `layout` included.

    Raises:
        ArgumentError: see `TensorProduct`.

    Example:
        >>> conv = TensorProductConv("8x0e", "1o", "8x1o", [(0, 0, 0, "uvu", True)])
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 0, 0]])
        >>> conv(torch.randn(3, 8), torch.randn(3, 3), edge_index=edge_index).shape
        torch.Size([3, 24])
    """

    _over_edges = True

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        instructions: Any,
        *,
        fuse_radial: bool | None = None,
        fuse_harmonics: bool = False,
        harmonics_normalization: str = "component",
        normalize: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(irreps_in1, irreps_in2, irreps_out, instructions, **options)
        self._choose(fuse_radial, fuse_harmonics, harmonics_normalization, normalize)

    @classmethod
    def from_e3nn(
        cls,
        module: Any,
        layout: str = "mul_ir",
        *,
        fuse_radial: bool | None = None,
        fuse_harmonics: bool = False,
        harmonics_normalization: str = "component",
        normalize: bool = True,
    ) -> Self:
        """The convolution with an e3nn tensor product, with a copy of its weights.

        Args:
            module: an `e3nn.o3.TensorProduct`, of any subclass that takes two inputs.
            layout: of the new module's operands.
            fuse_radial: see the class.
            fuse_harmonics: see the class.
            harmonics_normalization: see the class.
            normalize: see the class.
        """
        conv = super().from_e3nn(module, layout)
        conv._choose(fuse_radial, fuse_harmonics, harmonics_normalization, normalize)
        return conv

    def _choose(
        self, fuse_radial: bool | None, fuse_harmonics: bool, normalization: str, normalize: bool
    ) -> None:
        """Keeps the options that `TensorProduct` does not have."""
        where = type(self).__name__
        self.fuse_radial, self.fuse_harmonics, self.normalize = (
            fuse_radial,
            fuse_harmonics,
            normalize,
        )
        self.harmonics_normalization = parse_choice(
            where, "harmonics_normalization", NORMALIZATIONS, normalization
        )
        self._sizes = [prod(ins.path_shape) for ins in self.instructions if ins.has_weight]
        self._harmonics = _harmonics(self.irreps_in2, normalize, normalization)
        if self._plan is not None:
            stage_plans(self._plan)  # now, so that torch.compile finds them

    def forward(
        self,
        x: torch.Tensor,
        edge_attr: torch.Tensor | None = None,
        weight: Weight = None,
        edge_index: torch.Tensor | Topology | None = None,
        num_nodes: int | None = None,
        *,
        radial: torch.Tensor | None = None,
        last: torch.Tensor | None = None,
        edge_vectors: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The convolution.

        Args:
            x: float32 or float64 [senders, irreps_in1.dim], in the module's layout.
            edge_attr: [edges, irreps_in2.dim].
            weight: [weight_numel] where weights are shared, else [edges, weight_numel].
            edge_index: int64 [2, edges], senders then receivers, in any order; or a `Topology`,
                which is checked and sorted once.
            num_nodes: the number of receivers; by default that of senders.
            radial: [edges, hidden], in the place of `weight`: weight = radial @ last.
            last: [hidden, weight_numel].
            edge_vectors: [edges, 3], in the place of `edge_attr`: its spherical harmonics.

        Returns:
            [receivers, irreps_out.dim]; zeros for a receiver without edges.

        Raises:
            ArgumentError: a wrong shape or device; an argument that is missing or given twice.
            ArgumentTypeError: a wrong dtype.
            IndexRangeError: an index is negative, or not below the number of nodes.
        """
        where = type(self).__name__
        check_operand(where, "x", x, self._in1_dim, x)
        if x.dim() != 2:
            raise ArgumentError(
                f"{where}: x: expected shape [senders, {self._in1_dim}], got {list(x.shape)}"
            )
        topology = self._topology(x, edge_index, num_nodes)
        values, harmonics = self._edge_values(x, edge_attr, edge_vectors, topology)
        weights, num_hidden = self._weight_values(x, weight, radial, last, topology)
        if self._plan is None:
            return x.new_zeros((topology.num_receivers, self._out_dim))
        plans = stage_plans(self._plan, num_hidden, harmonics)
        return run_stages(plans, {"x": x} | values | weights, topology)

    def _topology(
        self, x: torch.Tensor, edge_index: torch.Tensor | Topology | None, num_nodes: int | None
    ) -> Topology:
        """The edges, checked against the number of nodes."""
        where = type(self).__name__
        if edge_index is None:
            raise ArgumentError(
                f"{where}: edge_index: expected a tensor [2, edges] or a Topology, got None"
            )
        if not isinstance(edge_index, Topology):
            num_senders = x.shape[0]
            receivers = num_senders if num_nodes is None else num_nodes
            return Topology(edge_index, (num_senders, receivers))
        if x.shape[0] != edge_index.num_senders:
            raise ArgumentError(
                f"{where}: x: expected {edge_index.num_senders} rows, one for each sender of the "
                f"topology, got {x.shape[0]}"
            )
        if num_nodes not in (None, edge_index.num_receivers):
            raise ArgumentError(
                f"{where}: num_nodes: expected None or the topology's "
                f"{edge_index.num_receivers} receivers, got {num_nodes}"
            )
        return edge_index

    def _edge_values(
        self,
        x: torch.Tensor,
        edge_attr: torch.Tensor | None,
        edge_vectors: torch.Tensor | None,
        topology: Topology,
    ) -> tuple[dict[str, torch.Tensor], str]:
        """What the kernel reads as y, and the normalisation of harmonics computed inside."""
        where = type(self).__name__
        if edge_vectors is None:
            if edge_attr is None:
                raise ArgumentError(
                    f"{where}: edge_attr: expected a tensor, or edge_vectors in its place, got None"
                )
            self._check_rows("edge_attr", edge_attr, self._in2_dim, x, topology)
            return {"y": edge_attr}, ""
        if edge_attr is not None:
            raise ArgumentError(
                f"{where}: edge_attr: expected None where edge_vectors is given, got both"
            )
        self._check_rows("edge_vectors", edge_vectors, 3, x, topology)
        if self._harmonics is None:
            raise ArgumentError(
                f"{where}: edge_vectors: expected irreps_in2 of spherical harmonics, one of each, "
                f"got {self.irreps_in2}"
            )
        if not self.fuse_harmonics:
            return {"y": self._harmonics(edge_vectors)}, ""
        if self.normalize:
            edge_vectors = torch.nn.functional.normalize(edge_vectors, dim=-1)
        one = x.new_ones((topology.num_edges, 1))
        return {"one": one, "vectors": edge_vectors}, self.harmonics_normalization

    def _weight_values(
        self,
        x: torch.Tensor,
        weight: Weight,
        radial: torch.Tensor | None,
        last: torch.Tensor | None,
        topology: Topology,
    ) -> tuple[dict[str, torch.Tensor], int]:
        """What the kernel reads as w, and the number of radial features multiplied inside."""
        where = type(self).__name__
        if radial is None and last is None:
            if not self.weight_numel and weight is None:
                return {}, 0
            used = self._resolve_weight("weight", self._joined(weight), (self.weight_numel,), x)
            if not self.shared_weights:
                self._check_rows("weight", used, self.weight_numel, x, topology)
            return {"w": used}, 0
        if radial is None or last is None:
            name = "radial" if radial is None else "last"
            raise ArgumentError(f"{where}: {name}: expected radial and last together, got None")
        if weight is not None or self.shared_weights:
            got = "both" if weight is not None else "shared_weights True"
            raise ArgumentError(
                f"{where}: radial: expected weights per edge and no weight beside it, got {got}"
            )
        num_hidden = last.shape[0] if last.dim() == 2 else 0
        check_operand(where, "last", last, self.weight_numel, x)
        if last.dim() != 2 or not num_hidden:
            raise ArgumentError(
                f"{where}: last: expected shape [hidden, {self.weight_numel}], "
                f"got {list(last.shape)}"
            )
        self._check_rows("radial", radial, num_hidden, x, topology)
        if not self._fuses_radial(x):
            return {"w": radial @ last}, 0
        return {"radial": radial, "last": radial_blocks(last, self._sizes)}, num_hidden

    def _fuses_radial(self, x: torch.Tensor) -> bool:
        """Whether weights per edge are computed inside the kernel."""
        return not is_on_gpu(x) if self.fuse_radial is None else self.fuse_radial

    def _check_rows(
        self,
        argument: str,
        tensor: torch.Tensor,
        columns: int,
        like: torch.Tensor,
        topology: Topology,
    ) -> None:
        """Refuses anything but a row for each edge.

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong type or dtype.
        """
        where = type(self).__name__
        check_operand(where, argument, tensor, columns, like)
        if tensor.dim() != 2 or tensor.shape[0] != topology.num_edges:
            raise ArgumentError(
                f"{where}: {argument}: expected shape [{topology.num_edges}, {columns}], a row for "
                f"each edge, got {list(tensor.shape)}"
            )


def _harmonics(irreps: Any, normalize: bool, normalization: str) -> SphericalHarmonics | None:
    """The module that computes irreps of harmonics, one of each, where a vector can give them."""
    if any(mul != 1 for mul, _ in irreps):
        return None
    try:
        module = SphericalHarmonics(irreps, normalize, normalization)
    except ArgumentError:
        return None
    return module
