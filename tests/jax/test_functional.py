"""Single operations against e3nn: values, leading axes, errors."""

import jax
import numpy as np
import pytest
import torch
from e3nn import o3

from tvm_equi.errors import ArgumentError, GraphError
from tvm_equi.jax.functional import linear, spherical_harmonics, tensor_product

pytestmark = pytest.mark.deploy

PATHS = [
    (0, 0, 0, "uvu", True, 1.0),
    (1, 0, 1, "uvw", True, 0.5),
    (1, 1, 0, "uvu", True, 2.0),
    (0, 1, 1, "uvw", True, 1.0),
]
IRREPS = ("4x0e+4x1o", "1x0e+1x1o", "4x0e+3x1o")


def in_float64(make: object) -> torch.nn.Module:
    """An e3nn module whose constants are exact."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    module = make()
    torch.set_default_dtype(default)
    return module


@pytest.mark.parametrize("weights", ["row", "shared"])
def test_tensor_product(weights: str) -> None:
    is_shared = weights == "shared"
    module = in_float64(
        lambda: o3.TensorProduct(*IRREPS, PATHS, shared_weights=is_shared, internal_weights=False)
    )
    product = tensor_product(*IRREPS, PATHS, weights=weights)
    assert product.weight_numel == module.weight_numel
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 16)), rng.normal(size=(2, 3, 4))
    w = rng.normal(size=(() if is_shared else (2, 3)) + (product.weight_numel,))
    wanted = module(*map(torch.tensor, (x, y, w))).numpy()
    np.testing.assert_allclose(jax.jit(product)(x, y, w), wanted, atol=1e-12)


def test_tensor_product_without_weights() -> None:
    paths = [(0, 0, 0, "uuu", False, 1.0)]
    module = in_float64(lambda: o3.TensorProduct("3x1o", "3x1o", "3x2e", paths))
    product = tensor_product("3x1o", "3x1o", "3x2e", paths)
    x = np.random.default_rng(0).normal(size=(5, 9))
    np.testing.assert_allclose(product(x, x), module(*[torch.tensor(x)] * 2).numpy(), atol=1e-12)


def test_linear() -> None:
    module = in_float64(lambda: o3.Linear("4x0e+4x1o", "3x1o+2x0e", internal_weights=False))
    layer = linear("4x0e+4x1o", "3x1o+2x0e")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 16)), rng.normal(size=layer.weight_numel)
    wanted = module(torch.tensor(x), torch.tensor(w)).numpy()
    np.testing.assert_allclose(layer(x, w), wanted, atol=1e-12)


@pytest.mark.parametrize("normalization", ["component", "norm", "integral"])
@pytest.mark.parametrize("normalize", [True, False])
def test_spherical_harmonics(normalization: str, normalize: bool) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 2, 3))
    wanted = o3.spherical_harmonics([0, 1, 2, 3], torch.tensor(vectors), normalize, normalization)
    found = spherical_harmonics(range(4), normalize=normalize, normalization=normalization)(vectors)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-12)


def test_what_is_refused() -> None:
    product = tensor_product(*IRREPS, PATHS, weights="row")
    x, y = np.zeros((5, 16)), np.zeros((5, 4))
    with pytest.raises(ArgumentError, match="tensor_product: expected 3 arrays, got 2"):
        product(x, y)
    with pytest.raises(ArgumentError, match=r"arrays\[2\]: expected shape \[5, 32\], got \[44\]"):
        product(x, y, np.zeros(44))
    with pytest.raises(ArgumentError, match=r"arrays\[1\]: expected shape \[5, 4\], got \[4, 4\]"):
        product(x, y[1:], np.zeros((5, 32)))
    with pytest.raises(GraphError, match="mul_in1 = mul_out"):
        tensor_product("2x0e", "1x0e", "3x0e", [(0, 0, 0, "uvu", True, 1.0)])
