"""Products have the sign of the installed e3nn's symbols, whichever that is."""

import pytest
import torch
from e3nn import o3

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.frontend import signs
from tvm_equi.frontend.e3nn import import_module
from tvm_equi.frontend.signs import symbol_sign
from tvm_equi.nn import TensorProduct

TRIPLES = [
    (a, b, c) for a in range(5) for b in range(5) for c in range(abs(a - b), min(a + b, 4) + 1)
]


def test_signs_are_those_of_the_installed_e3nn() -> None:
    for degrees in TRIPLES:
        theirs = o3.wigner_3j(*degrees, dtype=torch.float64)
        own = torch.tensor(wigner_3j(*degrees)) * symbol_sign(*degrees)
        torch.testing.assert_close(own, theirs, rtol=1e-10, atol=1e-10)


def product() -> o3.TensorProduct:
    return o3.TensorProduct("2x1o", "2e", "2x2o + 2x1o", [(0, 0, k, "uvu", True) for k in (0, 1)])


def test_an_e3nn_of_other_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    old = product()
    x, y = torch.randn(3, 6).double(), torch.randn(3, 5).double()
    straight = TensorProduct.from_e3nn(old).double()
    before = straight(x, y)
    flipped = {(1, 2, 2): -symbol_sign(1, 2, 2), (1, 2, 1): symbol_sign(1, 2, 1)}
    monkeypatch.setattr(signs, "_sign", lambda *degrees: flipped[degrees])
    if flipped[1, 2, 2] > 0:
        pytest.skip("this e3nn has the other signs itself")
    module = TensorProduct.from_e3nn(old).double()
    after = module(x, y)
    torch.testing.assert_close(after[:, :10], -before[:, :10])
    torch.testing.assert_close(after[:, 10:], before[:, 10:])
    assert [ins.path_weight for ins in module.instructions] == [
        ins.path_weight for ins in old.instructions
    ]
    graph = import_module(old).graph
    (node,) = [node for node in graph.nodes if hasattr(node.operation, "instructions")]
    assert [ins.coefficient < 0 for ins in node.operation.instructions] == [True, False]
