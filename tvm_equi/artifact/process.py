"""A process of its own that answers requests, so that whatever happens in it stays in it.

In: requests. Out: answers. Both are lines of JSON over pipes. The process may crash or hang: then
it is ended, its request is lost, and the next starts a new one. It ends by itself when nobody can
ask any more, and during a request that takes too long.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any

from tvm_equi.errors import TvmEquiError

GRACE_SECONDS = 5.0
"""That a process gets to end by itself."""


class LostError(TvmEquiError):
    """A process ended or did not answer in time: nothing is known of what it was asked."""


class AnsweringProcess:
    """A process that is started when it is first asked.

    Args:
        function: that runs `answer_all`, as "module:name".
        variables: of its environment, beside this process's.
    """

    def __init__(self, function: str, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        self._function, self._variables = function, variables
        self._process: subprocess.Popen[str] | None = None
        self._answers: SimpleQueue[str] = SimpleQueue()

    def ask(self, request: Any, timeout: float | None = None) -> Any:
        """The answer to a request.

        Args:
            request: in JSON's types.
            timeout: in seconds; None to wait for as long as the process lives.

        Raises:
            LostError: the process ended or did not answer in time.
        """
        process = self._running()
        line = None
        with suppress(BrokenPipeError, Empty):
            print(json.dumps([timeout or 0, request]), file=process.stdin, flush=True)
            line = self._answers.get(timeout=timeout)
        if not line:
            self.close(at_once=True)
            why = f"was silent for {timeout:g} s" if line is None and timeout else "ended"
            raise LostError(f"expected an answer, got none: the process {why}")
        return json.loads(line)

    def close(self, *, at_once: bool = False) -> None:
        """Ends the process; whoever waits for an answer is told that it is lost.

        Args:
            at_once: whether it gets no time to end by itself.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None and not at_once:
            with suppress(BrokenPipeError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(GRACE_SECONDS)
        process.kill()
        process.wait()

    def _running(self) -> subprocess.Popen[str]:
        """The process."""
        if self._process is None or self._process.poll() is not None:
            module, _, name = self._function.partition(":")
            paths = [path for path in sys.path if path]
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {module} import {name}; {name}()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **self._variables, "PYTHONPATH": os.pathsep.join(paths)},
            )
            self._answers = SimpleQueue()
            arguments = (self._process.stdout, self._answers)
            threading.Thread(target=_read, args=arguments, daemon=True).start()
        return self._process


def _read(stream: Any, answers: SimpleQueue[str]) -> None:
    """Passes lines on, and an empty one at the end."""
    for line in stream:
        answers.put(line)
    answers.put("")


def answer_all(answer: Callable[[Any], Any]) -> None:
    """Answers requests from the standard input until it ends.

    Args:
        answer: gives the answer to a request.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        timeout, request = json.loads(line)
        # Whoever asked may be gone, and what was asked may hang: the system ends this process.
        signal.setitimer(signal.ITIMER_REAL, timeout and timeout + GRACE_SECONDS)
        json.dump(answer(request), answers)
        answers.write("\n")
        answers.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
