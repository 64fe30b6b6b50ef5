"""A process of its own that builds and measures candidates, so that none can take the run with it.

In: requests. Out: answers. Requests and answers are lines of JSON over pipes. A candidate may crash
or hang its process: it is killed and the next request starts a new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tvm_equi.errors import TuningError
from tvm_equi.runtime.library import load_cuda_runtime


class LostError(TuningError):
    """A process ended or did not answer in time: nothing is known of what it was asked."""


class FailedError(TuningError):
    """A candidate cannot be built, or computes something else."""


class Helper:
    """A process that is started when it is first asked.

    Args:
        threads: of kernels that it runs.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._process: subprocess.Popen[str] | None = None
        self._answers: SimpleQueue[str] = SimpleQueue()

    def ask(self, request: dict[str, Any], timeout: float) -> Any:
        """The answer to a request.

        Args:
            request: {"do": "build" or "measure", and arguments}.
            timeout: in seconds.

        Raises:
            LostError: the process ended or did not answer in time.
            FailedError: it says that the candidate is at fault.
        """
        process = self._running()
        line = ""
        with suppress(BrokenPipeError, Empty):
            print(json.dumps(request), file=process.stdin, flush=True)
            line = self._answers.get(timeout=timeout)
        if not line:
            ended = process.poll() is not None or not self._answers.empty()
            self.close()
            why = "ended" if ended else f"was silent for {timeout:g} s"
            raise LostError(f"{request['do']}: the process {why}")
        answer = json.loads(line)
        if "error" in answer:
            raise (LostError if answer["is_lost"] else FailedError)(answer["error"])
        return answer["value"]

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        """The process."""
        if self._process is None or self._process.poll() is not None:
            paths = [path for path in sys.path if path]
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from tvm_equi.tuning.helper import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **thread_variables(self._threads)}
                | {"PYTHONPATH": os.pathsep.join(paths)},
            )
            self._answers = SimpleQueue()
            reader = threading.Thread(
                target=_read, args=(self._process.stdout, self._answers), daemon=True
            )
            reader.start()
        return self._process


def thread_variables(threads: int) -> dict[str, str]:
    """Environment in which TVM runs kernels on so many threads, wherever the system puts them.

    Args:
        threads: their number.
    """
    count = str(threads)
    return {"TVM_NUM_THREADS": count, "OMP_NUM_THREADS": count, "TVM_BIND_THREADS": "0"}


def _read(stream: Any, answers: SimpleQueue[str]) -> None:
    """Passes lines on, and an empty one at the end."""
    for line in stream:
        answers.put(line)
    answers.put("")


def serve() -> None:
    """Answers requests from the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        json.dump(_answer(json.loads(line)), answers)
        answers.write("\n")
        answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """What comes of a request."""
    from tvm_equi.tuning.measure import WrongNumbersError

    try:
        if request.pop("do") == "build":
            return {"value": _build(**request)}
        return {"value": _measure(**request)}
    except WrongNumbersError as error:
        return {"error": str(error), "is_lost": False}
    except Exception as error:  # noqa: BLE001 (whatever a candidate does, the run goes on)
        is_remote = request.get("tracker") is not None
        lines = str(error).strip().splitlines() or [""]
        return {"error": f"{type(error).__name__}: {lines[-1][:500]}", "is_lost": is_remote}


def _build(plan: str, dtype: str, target: str, point: dict[str, Any], path: str) -> str:
    """Compiles a candidate."""
    from tvm_equi.algebra.kernel import Kernel
    from tvm_equi.artifact.codegen import compile_point

    compile_point(Kernel.from_plan(plan), dtype, target, point, Path(path))
    return path


def _measure(
    libraries: list[str],
    plan: str,
    dtype: str,
    rows: int,
    seconds: float,
    device: str = "cpu",
    tracker: tuple[str, int, str, float] | None = None,
) -> list[list[float]]:
    """Times candidates, here or on a worker that a tracker lends."""
    from tvm import rpc

    from tvm_equi.tuning.measure import measure

    if tracker is None:
        if device == "cuda":
            load_cuda_runtime()
        session = rpc.LocalSession()
    else:
        host, port, key, timeout = tracker
        session = rpc.connect_tracker(host, port).request(
            key, session_timeout=int(timeout), max_retry=1
        )
    paths = [Path(each) for each in libraries]
    return measure(session, paths, plan, dtype, rows, seconds, device=device)
