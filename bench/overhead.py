"""What a call costs beside the kernel: one row of the smallest workload.

Run as `python -m bench.overhead`. Out: microseconds per call, from the bare compiled function,
which fills outputs that exist, up to the module; and how much each is above the bare call.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from rich.table import Table

from bench.kernels import plan_of
from bench.passes import Tensors, forward_backward, random_tensors
from bench.report import console
from bench.timing import Call, interleave, num_threads
from bench.workloads import select

GOAL = 15.0
"""Microseconds that the operator may take above the bare call."""

BATCH = 50
"""Calls that are timed together: the clock itself takes a good part of a microsecond."""


def calls(workload: str) -> dict[str, Call]:
    """Every way to run the forward kernel on one row, and the gradients; each has run once."""
    import tvm_equi
    from tvm_equi.runtime.plans import signature
    from tvm_equi.runtime.torch_op import program, run

    theirs = select([workload])[0].build()
    ours = tvm_equi.from_e3nn(theirs)
    t = random_tensors(theirs, rows=1, dtype=torch.float32)
    plan, inputs = plan_of(theirs), [tensor.detach() for tensor in t.inputs]
    outputs = [torch.empty(1, columns) for columns, _ in signature(plan).outputs]
    bare = program(plan, torch.float32)
    found: dict[str, Call] = {
        "bare kernel": lambda: bare(*inputs, *outputs),
        "runtime.torch_op.run": lambda: run(plan, inputs),
        "torch.ops.tvm_equi.run": lambda: torch.ops.tvm_equi.run(inputs, plan),
        "module, no_grad": partial(_no_grad, ours, t),
        "module, with grad": lambda: ours(*t.inputs),
        "module, forward+backward": partial(forward_backward, ours, t),
        "e3nn, no_grad": partial(_no_grad, theirs, t),
        "e3nn, forward+backward": partial(forward_backward, theirs, t),
    }
    for call in found.values():
        call()
    return found


def _no_grad(module: Callable[..., object], t: Tensors) -> object:
    with torch.no_grad():
        return module(*t.inputs)


def _batched(call: Call) -> Call:
    def run() -> None:
        for _ in range(BATCH):
            call()

    return run


def main(arguments: list[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--only", default="single-l1", metavar="NAME", help="default: single-l1")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each line (default 0.5)")
    given = parser.parse_args(arguments)
    with num_threads(1):
        batches = {name: _batched(call) for name, call in calls(given.only).items()}
        timings = interleave(batches, given.seconds, min_rounds=20)
    table = Table(title=f"{given.only}, 1 row, float32, 1 thread: microseconds per call")
    for name in ("call", "median", "10% to 90%", "above bare"):
        table.add_column(name, justify="left" if name == "call" else "right")
    bare = timings["bare kernel"].median
    above = {name: (t.median - bare) / BATCH * 1e6 for name, t in timings.items()}
    for name, t in timings.items():
        median, p10, p90 = (value / BATCH * 1e6 for value in (t.median, t.p10, t.p90))
        table.add_row(name, f"{median:.1f}", f"{p10:.1f} to {p90:.1f}", f"{above[name]:.1f}")
    out = console()
    out.print(table)
    for name in ("runtime.torch_op.run", "torch.ops.tvm_equi.run"):
        verdict = "within" if above[name] <= GOAL else "over"
        out.print(
            f"{name}: {above[name]:.1f} us above the bare kernel, {verdict} the goal of {GOAL:.0f}"
        )


if __name__ == "__main__":
    main()
