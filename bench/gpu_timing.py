"""Timing on a GPU: events around one call at a time, contestants in turns, caches emptied before.

In: calls. Out: `Timing`s. A `Timer` measures one call; `CudaTimer` does so with events, `WallTimer`
stands in for it on a CPU. Before every call all earlier work is done and the L2 cache holds other,
clean data: a large buffer is read, since written lines would go to memory while a call is timed. A
time thus starts on an idle GPU, and holds what Python and the launches take where kernels are
short; `capture` makes a replay without them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from bench.contestants import FAILURES, Unavailable, reason
from bench.timing import Timing, no_gc

Call = Callable[[], object]

WARM_UPS = 3
"""Calls of each contestant before the first that counts: e3nn's script is optimised in these."""

L2_FACTOR = 4
LEAST_FLUSH = 64 << 20
"""Bytes read between calls: so many times the L2 cache, and at least so many."""


class Timer(Protocol):
    """Measures calls."""

    def seconds(self, call: Call) -> float:
        """The time of one call, from an idle device and a cold cache until its work is done."""

    def capture(self, call: Call) -> tuple[Call, object]:
        """A replay of the call's work without its launches, and the outputs that it fills.

        Raises:
            Unavailable: the work can not be captured.
        """

    def free_bytes(self) -> int | None:
        """Memory that a call can still get; None where it is not known."""

    def release(self) -> None:
        """Gives back memory that nothing uses."""


class WallTimer:
    """Stands in for `CudaTimer` on a CPU.

    Args:
        clock: seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def seconds(self, call: Call) -> float:
        """The time of one call."""
        start = self._clock()
        call()
        return self._clock() - start

    def capture(self, call: Call) -> tuple[Call, object]:
        """Nothing can be captured on a CPU."""
        raise Unavailable("replay needs CUDA")

    def free_bytes(self) -> int | None:
        """It is not known."""
        return None

    def release(self) -> None:
        """Collects garbage."""
        gc.collect()


class CudaTimer:
    """Events on the current stream.

    Args:
        device: a CUDA device, the current one.
    """

    def __init__(self, device: torch.device) -> None:
        cache = torch.cuda.get_device_properties(device).L2_cache_size
        count = max(LEAST_FLUSH, L2_FACTOR * cache) // 4
        self._device = device
        self._other = torch.ones(count, dtype=torch.float32, device=device)
        self._sum = torch.empty((), dtype=torch.float32, device=device)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def seconds(self, call: Call) -> float:
        """The time of one call."""
        torch.sum(self._other, dim=0, out=self._sum)
        torch.cuda.synchronize(self._device)
        self._start.record()
        outputs = call()
        self._end.record()
        self._end.synchronize()
        del outputs
        return self._start.elapsed_time(self._end) / 1e3

    def capture(self, call: Call) -> tuple[Call, object]:
        """A CUDA graph's replay."""
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    call()
            torch.cuda.current_stream(self._device).wait_stream(stream)
            with torch.cuda.graph(graph):
                outputs = call()
            graph.replay()
            torch.cuda.synchronize(self._device)
        except FAILURES as error:
            raise Unavailable(reason(error)) from error
        return graph.replay, outputs

    def free_bytes(self) -> int | None:
        """What the driver has, and what torch keeps unused."""
        free, _ = torch.cuda.mem_get_info(self._device)
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return free + kept

    def release(self) -> None:
        """Gives torch's unused memory back to the driver."""
        gc.collect()
        torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class Effort:
    """How often calls are timed.

    Args:
        seconds: to spend on each call.
        least: repetitions of a call, however slow.
        most: repetitions of a call, however fast.
    """

    seconds: float = 0.5
    least: int = 30
    most: int = 200


def race(
    calls: Mapping[str, Call], timer: Timer, effort: Effort
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Times every call, in rounds in which each has its turn.

    Args:
        calls: by name.
        timer: that measures them.
        effort: how often.

    Returns:
        The times of those that ran, and why the others did not: memory may run out.
    """
    alive, times, reasons = dict(calls), {name: [] for name in calls}, {}
    counts: dict[str, int] = {}

    def turn(name: str) -> float | None:
        try:
            return timer.seconds(alive[name])
        except FAILURES as error:
            reasons[name] = reason(error)
            del alive[name]
        timer.release()  # after the except clause: its traceback holds tensors
        return None

    with no_gc():
        for name in calls:
            once = [turn(name) for _ in range(WARM_UPS) if name in alive]
            known = [seconds for seconds in once if seconds is not None]
            if name in alive:
                wanted = int(effort.seconds / max(min(known), 1e-9))
                counts[name] = max(effort.least, min(effort.most, wanted))
        total = max(counts.values(), default=0)
        for index in range(total):
            for name in list(alive):
                count = counts[name]
                if (index + 1) * count // total > index * count // total:
                    seconds = turn(name)
                    times[name] += [] if seconds is None else [seconds]
    return {name: Timing.of(times[name]) for name in alive}, reasons
