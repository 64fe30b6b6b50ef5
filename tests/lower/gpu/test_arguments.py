"""Which arguments a function for GPUs takes, in which order."""

import pytest

from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import convolution_kernel, passes
from tvm_equi.lower.gpu.arguments import ORDER, argument_names, copy_name, parts_name
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.lowering import lower_gpu
from tvm_equi.runtime.device_order import DeviceOrder


def test_an_order_has_the_arrays_that_kernels_take() -> None:
    assert DeviceOrder._fields == ORDER


def test_rows() -> None:
    kernel = product("uvw", (4, 2, 6), "row")
    assert argument_names(kernel) == ("x", "y", "w", "z", "t")


def test_edges() -> None:
    kernel = convolution_kernel(product("uvu", (5, 1, 5), "row"))
    assert argument_names(kernel) == ("x", "y", "w", "z", "x_copy", "z_parts", *ORDER)
    plain = convolution_kernel(product("uvu", (5, 1, 5), "row", "ir_mul"))
    assert argument_names(plain) == ("x", "y", "w", "z", "z_parts", *ORDER)


@pytest.mark.parametrize("mode", ["uvu", "uvw"])
def test_functions_take_them(mode: str) -> None:
    whole = convolution_kernel(product(mode, (3, 1, 3), "row"))
    kernels = [part.kernel for one in derivatives(whole)[:2] for part in passes(one)]
    for kernel in [*kernels, *derivatives(product(mode, (3, 1, 3), "shared"))[:2]]:
        function = lower_gpu(kernel, "float32", GpuDecisions())
        assert tuple(param.name for param in function.params) == argument_names(kernel)


def test_names_do_not_clash() -> None:
    kernel = derivatives(convolution_kernel(product("uvw", (3, 1, 3), "row")))[2]
    for part in passes(kernel):
        names = argument_names(part.kernel)
        assert len(set(names)) == len(names)
    assert (copy_name("x"), parts_name("x")) == ("x_copy", "x_parts")
