"""Programs that tests compile and run on TVM's virtual machine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from tvm_equi.deploy.libraries import load_program, register_kernel
from tvm_equi.export.capture import Captured, capture
from tvm_equi.relax.program import Built, build_program

Sizes = Mapping[str, Sequence[int | str]]
Counts = Mapping[str, int]

EXAMPLE = {"rows": 5, "edges": 7}
CASES = ({"rows": 4, "edges": 11}, {"rows": 3, "edges": 0}, {"rows": 300, "edges": 6})


class Function(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, **inputs: torch.Tensor) -> Any:
        return self.function(**inputs)


def make_inputs(
    sizes: Sizes, counts: Counts, into: Mapping[str, str | int], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Random inputs: indices where `into` says below what, else normal numbers."""
    generator = torch.Generator().manual_seed(sum(counts.values()))
    found = {}
    for name, size in sizes.items():
        shape = [counts[s] if isinstance(s, str) else s for s in size]
        if name in into:
            high = into[name]
            bound = counts[high] if isinstance(high, str) else high
            found[name] = torch.randint(0, bound, shape, generator=generator)
        else:
            found[name] = torch.randn(shape, generator=generator, dtype=dtype)
    return found


def capture_function(
    function: Callable[..., Any],
    sizes: Sizes,
    into: Mapping[str, str | int] | None = None,
    dtype: torch.dtype = torch.float64,
) -> Captured:
    """A function that gives a dict, captured."""
    inputs = make_inputs(sizes, EXAMPLE, into or {}, dtype)
    names = list(function(**inputs))
    return capture(Function(function), inputs, sizes, names)


def load(built: Built, target: str = "host") -> Callable[..., list[torch.Tensor]]:
    """A function of a program's inputs."""
    for kernel in built.program.kernels[target]:
        register_kernel("kernel", kernel.data, kernel.sha256)
    library = built.program.libraries[target]
    machine = load_program("program", library.data, library.sha256)()
    machine["vm_initialization"](1, 0, 2)
    main, parameters = machine["main"], list(built.parameters.values())

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_dlpack(value) for value in main(*parameters, *inputs)]

    return run


def check_function(
    function: Callable[..., Any],
    sizes: Sizes,
    into: Mapping[str, str | int] | None = None,
    dtype: torch.dtype = torch.float64,
    cases: Sequence[Counts] = CASES,
) -> None:
    """Compiles a function once, and compares it with torch in float64 for several sizes."""
    captured = capture_function(function, sizes, into, dtype)
    run = load(build_program(captured))
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    for counts in cases:
        inputs = make_inputs(sizes, counts, into or {}, dtype)
        found = run(*inputs.values())
        exact = {n: v.double() if v.is_floating_point() else v for n, v in inputs.items()}
        wanted = function(**exact)
        for value, (name, other) in zip(found, wanted.items(), strict=True):
            message = f"{name}, {counts}"
            assert value.shape == other.shape, message
            if other.is_floating_point():
                other = other.to(value.dtype)
            scale = float(other.abs().max()) if other.is_floating_point() and other.numel() else 1
            torch.testing.assert_close(
                value,
                other,
                rtol=tolerance,
                atol=tolerance * max(1.0, scale),
                equal_nan=True,
                msg=lambda text, message=message: f"{message}: {text}",
            )
