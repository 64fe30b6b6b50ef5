"""What the processes that build and measure candidates do.

In: requests from `tuning/pool.py`. Out: answers. A candidate may crash or hang its process, and
takes nothing with it (`artifact/process.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tvm_equi.artifact.process import AnsweringProcess, LostError, answer_all
from tvm_equi.errors import TuningError
from tvm_equi.runtime.library import load_cuda_runtime


class FailedError(TuningError):
    """A candidate cannot be built, crashes, or computes something else."""


class Helper:
    """A process that builds and measures.

    Args:
        threads: of kernels that it runs.
    """

    def __init__(self, threads: int = 1) -> None:
        variables = thread_variables(threads)
        self._process = AnsweringProcess("tvm_equi.tuning.helper:serve", variables)

    def build(self, timeout: float, **request: Any) -> None:
        """Builds a candidate.

        Args:
            timeout: in seconds.
            request: arguments of `compile_point`, in JSON's types.

        Raises:
            LostError: the process ended or did not answer in time.
            FailedError: the candidate cannot be built.
        """
        self._ask({"do": "build", **request}, timeout)

    def connect(
        self, timeout: float, host: str, port: int, key: str, session_seconds: float
    ) -> None:
        """Asks a tracker for a worker, on which the next candidates are measured.

        Args:
            timeout: in seconds.
            host: of the tracker.
            port: of the tracker.
            key: of the workers.
            session_seconds: after which the worker ends what it is doing.

        Raises:
            LostError: there is no worker, or none that answers.
        """
        request = {"host": host, "port": port, "key": key, "session_seconds": session_seconds}
        try:
            self._ask({"do": "connect", **request}, timeout)
        except FailedError as error:
            raise LostError(str(error)) from error

    def measure(self, timeout: float, **request: Any) -> list[list[float]]:
        """Seconds of candidates, in turns.

        Args:
            timeout: in seconds.
            request: arguments of `tuning.measure.measure`, in JSON's types.

        Raises:
            LostError: the process or the worker ended, or did not answer in time.
            FailedError: a candidate computes something else, or cannot be loaded.
        """
        found: list[list[float]] = self._ask({"do": "measure", **request}, timeout)
        return found

    def close(self, *, at_once: bool = False) -> None:
        """Ends the process.

        Args:
            at_once: whether it gets no time to end by itself.
        """
        self._process.close(at_once=at_once)

    def _ask(self, request: dict[str, Any], timeout: float) -> Any:
        """What comes of a request.

        Raises:
            LostError: see above.
            FailedError: see above.
        """
        answer = self._process.ask(request, timeout)
        if "error" in answer:
            raise (LostError if answer["is_lost"] else FailedError)(answer["error"])
        return answer["value"]


def thread_variables(threads: int) -> dict[str, str]:
    """Environment in which TVM runs kernels on so many threads, wherever the system puts them.

    Args:
        threads: their number.
    """
    count = str(threads)
    return {"TVM_NUM_THREADS": count, "OMP_NUM_THREADS": count, "TVM_BIND_THREADS": "0"}


def serve() -> None:
    """Answers requests from the standard input until it ends."""
    answer_all(partial(_answer, _State()))


class _State:
    """What a process remembers: the session with a worker, None to measure here."""

    session: Any = None


def _answer(state: _State, request: dict[str, Any]) -> dict[str, Any]:
    """What comes of a request."""
    from tvm_equi.tuning.measure import WrongNumbersError

    try:
        return {"value": _ACTIONS[request.pop("do")](state, **request)}
    except WrongNumbersError as error:
        return {"error": str(error), "is_lost": False}
    except Exception as error:  # noqa: BLE001 (whatever a candidate does, the run goes on)
        lines = str(error).strip().splitlines() or [""]
        is_lost = state.session is not None  # a worker that has gone looks like any other error
        state.session = None
        return {"error": f"{type(error).__name__}: {lines[-1][:500]}", "is_lost": is_lost}


def _build(
    state: _State, plan: str, dtype: str, target: str, point: dict[str, Any], path: str
) -> None:
    """Compiles a candidate."""
    from tvm_equi.algebra.kernel import Kernel
    from tvm_equi.artifact.codegen import compile_point

    del state
    compile_point(Kernel.from_plan(plan), dtype, target, point, Path(path))


def _connect(state: _State, host: str, port: int, key: str, session_seconds: float) -> None:
    """Asks a tracker for a worker."""
    from tvm import rpc

    state.session = None
    tracker = rpc.connect_tracker(host, port)
    state.session = tracker.request(key, session_timeout=int(session_seconds), max_retry=1)


def _measure(state: _State, libraries: list[str], device: str, **facts: Any) -> list[list[float]]:
    """Times candidates, here or on the worker that was asked for."""
    from tvm import rpc

    from tvm_equi.tuning.measure import measure

    session = state.session
    if session is None:
        if device == "cuda":
            load_cuda_runtime()
        session = rpc.LocalSession()
    found = measure(session, [Path(each) for each in libraries], device=device, **facts)
    state.session = None  # the worker is free for others
    return found


_ACTIONS: dict[str, Callable[..., Any]] = {
    "build": _build,
    "connect": _connect,
    "measure": _measure,
}
