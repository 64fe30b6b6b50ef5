"""Small kernels of every kind."""

from tvm_equi.algebra.convolution import convolution_kernel, passes
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, linear_kernel, tensor_product_kernel

EVERYTHING = (0, 1, 2)


def product(mode: str = "uvu", u: int = 20, v: int = 1, weight_rows: str = "row") -> Kernel:
    """Two paths of a tensor product."""
    out = {"uvu": u, "uvw": 5}[mode]
    paths = tuple(Instruction(0, 0, number, mode, True, 0.7) for number in (0, 1))
    return tensor_product_kernel(
        ((u, 1),),
        ((v, 1),),
        ((out, 0), (out, 2)),
        paths,
        weight_rows=weight_rows,  # type: ignore[arg-type]
    )


def linear() -> Kernel:
    """A matrix that all rows share."""
    return linear_kernel(((33, 1),), ((20, 1),), ((0, 0, 0.5),), weight_rows="shared")


def kinds() -> dict[str, Kernel]:
    """Kernels by name: products, weights per row and shared, convolutions, and derivatives."""
    found = {
        "uvu": product(),
        "uvu loop": product(v=3),
        "uvw": product("uvw", 18),
        "linear": linear(),
    }
    found |= {
        f"{name} gradient": vjp(kernel, tuple(range(len(kernel.inputs))), (0,))
        for name, kernel in found.items()
    }
    for mode in ("uvu", "uvw"):
        conv = convolution_kernel(product(mode))
        first = vjp(conv, EVERYTHING, (0,))
        found[f"conv {mode}"] = conv
        for name, kernel in (("gradient", first), ("second", vjp(first, EVERYTHING, EVERYTHING))):
            for number, part in enumerate(passes(kernel)):
                found[f"conv {mode} {name} {number}"] = part.kernel
    return found
