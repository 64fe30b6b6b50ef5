"""allegro's own test of its accelerators, of ours."""

from tests.models.nequip.vendor.contract_kernels import test_contract_kernel

__all__ = ["test_contract_kernel"]
