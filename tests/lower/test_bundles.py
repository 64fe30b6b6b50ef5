"""Bundles: steps that may run together."""

from tests.lower.test_primfunc import derivatives, product
from tvm_equi.lower.bundles import bundles


def test_bundles_run_what_they_can_together() -> None:
    _, first, second = derivatives(product("uvu", (4, 1, 4), "row"))
    assert [len(bundle.steps) for bundle in bundles(first)] == [3]
    assert [len(bundle.steps) for bundle in bundles(second)] == [len(second.steps)]
    first = derivatives(product("uvw", (4, 2, 4), "row"))[1]
    families = [first.contractions[bundle.contraction].family for bundle in bundles(first)]
    assert families == ["couple", "mix", "couple"]
