"""One case on a GPU: contestants are built, checked against e3nn in float64, timed in turns.

In: a case, contestants, a timer, limits. Out: a record per pass. What one contestant can not do
ends nothing; what disagrees is reported as wrong and not timed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from bench import gpu_contestants
from bench.contestants import FAILURES, Unavailable, reason
from bench.counts import Work
from bench.gpu_check import largest_error, tensors_of
from bench.gpu_convention import Contestant
from bench.gpu_limits import Limits, floor
from bench.gpu_plan import RETURNS, SHARE_OF_MEMORY, GpuCase
from bench.gpu_results import REPLAY, WRONG, GpuRecord
from bench.gpu_timing import Call, Effort, Timer, race
from bench.graphs import Graph
from bench.passes import KERNELS_OF, PASSES, Product, Tensors
from bench.report import TOLERANCES
from bench.workloads import Workload

FORWARD = "forward"


@dataclass(slots=True)
class Pool:
    """Contestants of one workload in one dtype, each built once for all shapes.

    Args:
        workload: what they compute.
        dtype: of all data.
        device: where data are.
    """

    workload: Workload
    dtype: torch.dtype
    device: torch.device
    _built: dict[tuple[str, bool], Contestant | Unavailable] = field(default_factory=dict)

    def get(self, name: str, *, over_graph: bool) -> Contestant:
        """A contestant.

        Raises:
            Unavailable: it can not be built.
        """
        key = (name, over_graph)
        if key not in self._built:
            try:
                self._built[key] = gpu_contestants.make(
                    name, self.workload, self.dtype, self.device, over_graph=over_graph
                )
            except Unavailable as error:
                self._built[key] = Unavailable(str(error))  # without a traceback, which holds data
        found = self._built[key]
        if isinstance(found, Unavailable):
            raise found
        return found


@dataclass(frozen=True, slots=True)
class Bench:
    """What holds for all cases.

    Args:
        device: where everything runs.
        timer: of calls.
        effort: how often calls are timed.
        limits: of the device.
        contestants: who takes part.
        passes: that are timed.
        replays: whether the forward pass is replayed, too.
    """

    device: torch.device
    timer: Timer
    effort: Effort
    limits: Limits
    contestants: tuple[str, ...]
    passes: tuple[str, ...]
    replays: bool = True

    def run(self, case: GpuCase, pool: Pool) -> list[GpuRecord]:
        """Every pass of one case."""
        graph = case.shape.graph
        if graph is not None:
            graph = replace(graph, edge_index=graph.edge_index.to(self.device))
        found = []
        for name in self.passes:
            found += self._pass(case, pool, graph, name)
            self.timer.release()
        return found

    def _pass(
        self, case: GpuCase, pool: Pool, graph: Graph | None, pass_name: str
    ) -> list[GpuRecord]:
        """One pass; the forward one has a replay."""
        record = self._record(case, pass_name)
        try:
            self._check_fits(case.input_bytes(pass_name) + case.output_bytes(pass_name))
            tensors = tensors_of(case, pass_name, self.device)
        except (Unavailable, *FAILURES) as error:
            text = str(error) if isinstance(error, Unavailable) else reason(error)
            record.reasons = dict.fromkeys(self.contestants, text)
            return [record]
        calls: dict[str, Call] = {}
        for name in self.contestants:
            try:
                calls[name] = self._checked(case, pool, graph, record, name, tensors)
            except Unavailable as error:
                record.reasons[name] = str(error)
            except FAILURES as error:
                record.reasons[name] = reason(error)
            self.timer.release()
        del tensors
        record.timings, failed = race(calls, self.timer, self.effort)
        record.reasons |= failed
        if pass_name != FORWARD or not self.replays:
            return [record]
        return [record, self._replay(case, record, calls)]

    def _checked(
        self,
        case: GpuCase,
        pool: Pool,
        graph: Graph | None,
        record: GpuRecord,
        name: str,
        given: Tensors,
    ) -> Call:
        """A contestant's call of a pass, after its values were compared.

        Raises:
            Unavailable: it can not run, or is wrong.
        """
        start = time.perf_counter()
        contestant = pool.get(name, over_graph=graph is not None)
        if not contestant.is_fused:
            self._check_fits(case.unfused_bytes(record.pass_name))
        tensors = contestant.convention.tensors(given)
        call: Call = partial(_run, record.pass_name, contestant.bind(graph), tensors)
        outputs = call()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        record.first_calls[name] = time.perf_counter() - start
        record.how |= {name: contestant.how} if contestant.how else {}
        outputs = contestant.convention.outputs(RETURNS[record.pass_name], outputs)
        error = largest_error(case, record.pass_name, given, outputs)
        record.errors[name] = error
        if not error <= TOLERANCES[case.dtype]:
            raise Unavailable(f"{WRONG}differs from e3nn in float64 by {error:.1e}")
        return call

    def _replay(self, case: GpuCase, forward: GpuRecord, calls: dict[str, Call]) -> GpuRecord:
        """The forward pass of each contestant as a graph that is replayed."""
        record = self._record(case, REPLAY)
        replays: dict[str, Call] = {}
        for name in forward.timings:
            try:
                replay, outputs = self.timer.capture(calls[name])
                error = _difference(outputs, calls[name]())
                if not error <= TOLERANCES[case.dtype]:
                    raise Unavailable(f"{WRONG}differs from its own call by {error:.1e}")
                record.errors[name] = error
                replays[name] = _keeping(replay, outputs)
            except Unavailable as failure:
                record.reasons[name] = str(failure)
            except FAILURES as failure:
                record.reasons[name] = reason(failure)
        record.timings, failed = race(replays, self.timer, self.effort)
        record.reasons |= failed
        return record

    def _record(self, case: GpuCase, pass_name: str) -> GpuRecord:
        kernels = KERNELS_OF[FORWARD if pass_name == REPLAY else pass_name]
        work: dict[str, Work] = case.work()
        return GpuRecord(
            case.dtype,
            case.workload.name,
            case.workload.kind,
            case.shape.name,
            case.shape.rows.receivers if case.shape.graph is not None else 0,
            case.shape.edges,
            pass_name,
            floor((work[kernel] for kernel in kernels), self.limits, case.dtype),
        )

    def _check_fits(self, need: int) -> None:
        """Refuses what needs more memory than is free.

        Raises:
            Unavailable: so it is.
        """
        free = self.timer.free_bytes()
        if free is not None and need > SHARE_OF_MEMORY * free:
            raise Unavailable(
                f"not tried: it would hold about {need / 1e9:.0f} GB, and {free / 1e9:.0f} GB "
                "are free"
            )


def _run(pass_name: str, product: Product, tensors: Tensors) -> tuple[torch.Tensor, ...]:
    return PASSES[pass_name](product, tensors)


def _keeping(replay: Call, outputs: object) -> Call:
    """A replay that holds the memory which it fills."""

    def call() -> object:
        replay()
        return outputs

    return call


def _difference(found: object, wanted: object) -> float:
    """The largest difference of one tensor to another, relative to the largest entry."""
    ((one,), (other,)) = (found, wanted)  # type: ignore[misc]
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))
