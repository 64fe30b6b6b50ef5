"""What nequip imports."""

from importlib.metadata import EntryPoint

from tvm_equi.models import nequip_extension


def test_it_has_both_adapters() -> None:
    point = EntryPoint("init_always", "tvm_equi.models.nequip_extension", "nequip.extension")
    assert point.load() is nequip_extension
    assert all(getattr(nequip_extension, name).RULES for name in nequip_extension.__all__)
