"""One case, measured: every contestant's passes, and our kernels alone.

In: a `Case` and yardsticks of its work. Out: records. Contestants take turns with the yardsticks;
their values are compared with e3nn's before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.contestants import E3NN, FAILURES, OURS, Case, Unavailable, reason
from bench.counts import KERNELS
from bench.limits import Yardsticks, total
from bench.options import say
from bench.passes import KERNELS_OF, relative_error
from bench.results import KernelRecord, PassRecord, Setting
from bench.timing import Call, interleave


def time_kernels(
    case: Case,
    setting: Setting,
    seconds: float,
    sticks: Yardsticks,
    ours: Callable[[], dict[str, Call]],
    graph: str = "",
) -> list[KernelRecord]:
    """Our kernels alone, beside the yardsticks; these alone where ours can not run.

    Args:
        case: whose kernels they are.
        setting: for the records.
        seconds: of timing for each.
        sticks: of the case's work.
        ours: makes a call of each of `KERNELS`.
        graph: for the records.
    """
    calls = sticks.calls_for(KERNELS)
    try:
        calls |= ours()
    except FAILURES as error:
        say(f"  our kernels: {reason(error)}")
    timings = interleave(calls, seconds)
    return [
        KernelRecord(
            setting=setting,
            workload=case.workload.name,
            kind=case.workload.kind,
            kernel=kernel,
            num_bytes=sticks.work[kernel].num_bytes,
            macs=sticks.work[kernel].macs,
            limit=sticks.limit(kernel, timings),
            ours=timings.get(kernel),
            graph=graph,
        )
        for kernel in KERNELS
    ]


def time_pass(
    case: Case,
    record: PassRecord,
    contestants: tuple[str, ...],
    sticks: Yardsticks,
    seconds: float,
    min_rounds: int,
) -> None:
    """One pass of every contestant that can run it, compared with e3nn and then timed.

    Args:
        case: what is computed.
        record: of the pass; it is filled in.
        contestants: who takes part; e3nn is the first.
        sticks: of the case's work.
        seconds: of timing for each contestant.
        min_rounds: the fewest turns of a slow contestant.
    """
    calls: dict[str, Call] = {}
    reference: tuple[torch.Tensor, ...] = ()
    for name in contestants:
        try:
            call, outputs = case.call(name, record.pass_name)
            if name == E3NN:
                reference = outputs
            elif reference:
                record.errors[name] = relative_error(outputs, reference)
            calls[name] = call
        except (Unavailable, ValueError) as error:
            record.reasons[name] = str(error)
    kernels = KERNELS_OF[record.pass_name]
    timings = interleave(calls | sticks.calls_for(kernels), seconds, min_rounds)
    record.timings = {name: timings[name] for name in calls}
    record.limit = total(sticks.limit(kernel, timings) for kernel in kernels)
    if OURS in record.errors:
        # Once more, now that results lie in memory that earlier ones have used.
        again = relative_error(case.call(OURS, record.pass_name)[1], reference)
        record.errors[OURS] = max(record.errors[OURS], again)
