"""nequip's own test of its accelerators, of ours."""

from tests.models.nequip.vendor.tp_scatter_kernel import test_tp_scatter_kernel

__all__ = ["test_tp_scatter_kernel"]
