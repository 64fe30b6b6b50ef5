"""Who takes part: e3nn as it comes and under torch.compile, cuEquivariance, this package.

In: a workload and a dtype. Out: a `Case`: for each contestant and pass a call without arguments
that returns everything the pass computes; or `Unavailable`, with the reason in words, so that one
contestant's trouble ends nothing. `bench.convolvers` makes cases over a graph.
"""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

import torch
from e3nn import o3
from torch import Tensor

from bench.passes import PASSES, Product, Tensors, random_tensors
from bench.workloads import Workload, default_dtype

E3NN, COMPILE, CUE, OURS = "e3nn", "compile", "cue", "ours"
CONTESTANTS = (E3NN, COMPILE, CUE, OURS)

FAILURES = (AssertionError, AttributeError, ImportError, RuntimeError, TypeError, ValueError)
"""What a contestant may raise; torch's errors and our own are among these."""

MAX_REASON = 160

Outputs = tuple[Tensor, ...]


class Unavailable(Exception):
    """A contestant can not run a pass; the text says why."""


class TimeOut(BaseException):
    """Compiling took too long. Not an `Exception`, so that no handler in between keeps it."""


@dataclass(slots=True)
class CompileBudget:
    """Seconds that torch.compile may still take: for one pass, and for the whole run."""

    per_pass: float
    left: float
    spent: float = 0.0


def _no_check(contestant: str, pass_name: str) -> None:
    """Everything may run."""


@dataclass(slots=True)
class Case:
    """One workload in one dtype, and the contestants' products so far.

    Args:
        workload: what is computed.
        dtype: of all tensors.
        module: e3nn's.
        tensors: what the passes read.
        builders: makes the product of each contestant; `COMPILE` takes e3nn's.
        budget: of torch.compile.
        check: raises `Unavailable` before anything of a contestant's pass runs.
    """

    workload: Workload
    dtype: torch.dtype
    module: o3.TensorProduct
    tensors: Tensors
    builders: Mapping[str, Callable[[], Product]]
    budget: CompileBudget
    check: Callable[[str, str], None] = _no_check
    _is_slow_to_compile: bool = field(init=False, default=False)
    _products: dict[str, Product | Unavailable] = field(init=False, default_factory=dict)

    def call(self, contestant: str, pass_name: str) -> tuple[Callable[[], Outputs], Outputs]:
        """A contestant's call of a pass, and what its first call gave.

        Raises:
            Unavailable: the contestant can not run it.
        """
        self.check(contestant, pass_name)
        if contestant == COMPILE:
            return self._compiled(pass_name)
        run = partial(PASSES[pass_name], self.product(contestant), self.tensors)
        try:
            return run, run()
        except FAILURES as error:
            raise Unavailable(reason(error)) from error

    def product(self, contestant: str) -> Product:
        """The contestant's product, built once.

        Raises:
            Unavailable: it can not be built.
        """
        if contestant not in self._products:
            try:
                self._products[contestant] = self.builders[contestant]()
            except FAILURES as error:
                self._products[contestant] = Unavailable(reason(error))
        product = self._products[contestant]
        if isinstance(product, Unavailable):
            raise product
        return product

    def _compiled(self, pass_name: str) -> tuple[Callable[[], Outputs], Outputs]:
        """A pass of e3nn's product as one graph of torch.compile, derivatives included."""
        if self._is_slow_to_compile:
            raise Unavailable("not tried: a smaller pass already took too long to compile")
        seconds = min(self.budget.per_pass, self.budget.left)
        if seconds <= 0:
            raise Unavailable("not tried: the time for compiling was spent on earlier cases")
        torch._dynamo.reset()
        if not hasattr(torch._dynamo.config, "trace_autograd_ops") and pass_name != "forward":
            raise Unavailable(f"torch {torch.__version__} does not trace torch.autograd.grad")
        compiled = torch.compile(partial(_run_flat, pass_name, self.product(E3NN)), fullgraph=True)
        start = time.perf_counter()
        try:
            with trace_autograd(), time_limit(seconds), _no_warnings():
                outputs = compiled(*self.tensors.flat)
        except TimeOut:
            _stop_compile_workers()
            self._is_slow_to_compile = True
            raise Unavailable(f"compiling took more than {seconds:.0f} s") from None
        except FAILURES as error:
            raise Unavailable(reason(error)) from error
        finally:
            elapsed = time.perf_counter() - start
            self.budget.left -= elapsed
            self.budget.spent += elapsed
        return partial(_call_traced, compiled, self.tensors), outputs


def _run_flat(pass_name: str, product: Product, *tensors: Tensor) -> Outputs:
    """A pass on separate tensors, which torch.compile takes as inputs of its graph."""
    return PASSES[pass_name](product, Tensors.of(tensors))


def _call_traced(compiled: Callable[..., Outputs], tensors: Tensors) -> Outputs:
    return compiled(*tensors.flat)


def product_case(workload: Workload, dtype: torch.dtype, rows: int, budget: CompileBudget) -> Case:
    """The case of a product of rows with rows.

    Args:
        workload: what is computed.
        dtype: of all tensors.
        rows: of every tensor, but of shared weights.
        budget: of torch.compile.
    """
    module = workload.build(dtype)
    builders: dict[str, Callable[[], Product]] = {
        E3NN: lambda: module,
        CUE: partial(_cue, workload, module, dtype),
        OURS: partial(_ours, module),
    }
    tensors = random_tensors(module, rows, dtype)
    return Case(workload, dtype, module, tensors, builders, budget)


def _ours(module: o3.TensorProduct) -> Product:
    """This package's module, made from e3nn's."""
    import tvm_equi

    product: Product = tvm_equi.from_e3nn(module)
    return product


def _cue(workload: Workload, module: o3.TensorProduct, dtype: torch.dtype) -> Product:
    """The product of cuEquivariance."""
    product = cue_module(workload, module, dtype)
    if workload.shared_weights:
        return lambda x, y, w: product(x, y, w[None])
    return product


def cue_module(workload: Workload, module: o3.TensorProduct, dtype: torch.dtype) -> Product:
    """The module of cuEquivariance in e3nn's convention; on a CPU there is its method "naive".

    The irreps class `O3_e3nn` has e3nn's order of irreps and its Wigner 3j symbols, so that
    weights, values and normalisation agree with e3nn's.
    """
    import cuequivariance as cue  # type: ignore[import-untyped]
    import cuequivariance_torch as cuet  # type: ignore[import-untyped]
    from cuequivariance.group_theory.experimental.e3nn import (  # type: ignore[import-untyped]
        O3_e3nn,
    )

    in1, in2, out = (
        cue.Irreps(O3_e3nn, str(irreps))
        for irreps in (module.irreps_in1, module.irreps_in2, module.irreps_out)
    )
    options = {
        "layout": cue.mul_ir,
        "shared_weights": workload.shared_weights,
        "internal_weights": False,
        "method": "naive",
        "dtype": dtype,
    }
    with default_dtype(dtype), _no_warnings():
        if workload.kind == "channelwise":
            kept = [O3_e3nn(l=ir.l, p=ir.p) for _, ir in o3.Irreps(workload.out)]
            product = cuet.ChannelWiseTensorProduct(in1, in2, kept, **options)
        else:
            product = cuet.FullyConnectedTensorProduct(in1, in2, out, **options)
        product = product.to(dtype)
    if product.irreps_out != out or product.weight_numel != module.weight_numel:
        raise ValueError(f"expected output irreps {out}, got {product.irreps_out}")
    found: Product = product
    return found


def reason(error: BaseException) -> str:
    """The first line of an error, with its type, cut to a readable length."""
    text = " ".join(str(error).strip().split("\n\n")[0].split()) or "no message"
    text = f"{type(error).__name__}: {text}"
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}..."


@contextmanager
def trace_autograd() -> Iterator[None]:
    """Lets torch.compile trace torch.autograd.grad, where this torch can."""
    config = torch._dynamo.config
    if not hasattr(config, "trace_autograd_ops"):
        yield
        return
    with config.patch(trace_autograd_ops=True):
        yield


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises `TimeOut` in the main thread after so many seconds."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeOut

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _stop_compile_workers() -> None:
    """Ends the processes that still compile for a call that was given up: timing needs quiet."""
    from torch._inductor.async_compile import shutdown_compile_workers

    torch._dynamo.reset()
    shutdown_compile_workers()


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
