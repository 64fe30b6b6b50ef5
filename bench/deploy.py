"""What a deployed model costs to start and to call, beside its limits, and beside torch.

Run as `python -m bench.deploy` (`make bench`). The model is MACE at the sizes of mace-large (128
channels of degrees 0 to 2, correlation 3, 89 elements, 2 layers) with random weights, accelerated,
captured with its forces and compiled for x86-64-v3 and v4. It runs in an environment that has numpy
and apache-tvm-ffi alone, in processes of their own, whose files are in the disk's cache. The cost
of a call is that of a program of one kernel on 8 rows, the kernel's own work included. On a machine
that is busy, time of the processor says more than time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from bench import machine
from bench.deploy_make import ATOMS, SIZES, STRUCTURE
from bench.options import RESULTS, say, warn_if_busy
from bench.report import console
from tvm_equi.deploy.parts import cmake_folder, find_parts
from tvm_equi.deploy.runtime import default_threads

ROOT = Path(__file__).parent.parent

LOAD_LIMIT, FIRST_LIMIT = 0.2, 0.05
PYTHON_LIMIT, CPP_LIMIT = 30e-6, 20e-6
"""Seconds: to load mace-large; its first call beyond a later one; a call from Python, from C++."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was measured.

    Args:
        what: it is.
        values: one for each process or batch.
        unit: of the values, "s", "ms", "us" or "MB".
        limit: that the median may not exceed; None without one.
    """

    what: str
    values: tuple[float, ...]
    unit: str
    limit: float | None = None

    @property
    def median(self) -> float:
        """Of the values."""
        return float(np.median(self.values))

    @property
    def verdict(self) -> str:
        """Whether the limit holds."""
        if self.limit is None:
            return ""
        return "within" if self.median <= self.limit else "OVER"


def times(what: str, seconds: Sequence[float], unit: str, limit: float | None = None) -> Line:
    """A line of times.

    Args:
        what: was timed.
        seconds: measured.
        unit: to show them in.
        limit: in seconds.
    """
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
    values = tuple(value * scale for value in seconds)
    return Line(what, values, unit, None if limit is None else limit * scale)


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are.

    Args:
        folder: of the models.
        runtime: Python of an environment with numpy and apache-tvm-ffi alone.
        measure: the C++ program; None where there is no compiler.
    """

    folder: Path
    runtime: Path
    measure: Path | None

    def ask(self, question: str, model: str) -> dict[str, Any]:
        """The answer of a process without torch.

        Args:
            question: of `bench.deploy_child`.
            model: its name.
        """
        files = (self.folder / f"{model}.tvmeq", self.folder / f"{model}.npz")
        return _json([self.runtime, "-m", "bench.deploy_child", question, *files])

    def ask_torch(self, model: str) -> dict[str, Any]:
        """The answer of a process with torch.

        Args:
            model: its name.
        """
        file = self.folder / f"{model}.tvmeq"
        return _json([sys.executable, "-m", "bench.deploy_child", "torch", file])

    def ask_cpp(self, model: str) -> dict[str, Any]:
        """The answer of the C++ program.

        Args:
            model: its name.
        """
        files = [self.folder / f"{model}.{suffix}" for suffix in ("tvmeq", "safetensors")]
        threads = str(default_threads())
        return _json([str(self.measure), files[0], "--inputs", files[1], "--threads", threads])


def _json(command: Sequence[str | Path]) -> dict[str, Any]:
    """The last line that a command prints, as JSON."""
    variables = os.environ | {"TVM_EQUI_RUNTIME": str(find_parts().runtime)}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
        cwd=ROOT,
    )
    if done.returncode:
        raise SystemExit(f"bench.deploy: {command}: failed\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def sizes(folder: Path, runtime: Path) -> list[Line]:
    """What has to be there to run a model.

    Args:
        folder: of the models.
        runtime: the Python without torch.
    """
    parts = find_parts()
    libraries = sum(path.stat().st_size for path in (parts.ffi, parts.runtime))
    code = "import tvm_ffi; print(tvm_ffi.__path__[0])"
    ffi = subprocess.run([runtime, "-c", code], capture_output=True, text=True, check=True)
    package = ROOT / "tvm_equi" / "deploy"
    python = _folder_size(Path(ffi.stdout.strip()), "*") + _folder_size(package, "*.py")
    model = (folder / "model.tvmeq").stat().st_size
    return [
        Line("size: the model, two targets", (model / 1e6,), "MB"),
        Line(
            "size: libraries, all that C++ needs",
            (libraries / 1e6,),
            "MB",
        ),
        Line(
            "size: libraries and packages, all that Python needs but numpy",
            ((python + parts.runtime.stat().st_size) / 1e6,),
            "MB",
        ),
    ]


def _folder_size(folder: Path, pattern: str) -> int:
    """Bytes of the files of a folder."""
    files = [path for path in folder.rglob(pattern) if path.is_file()]
    return sum(path.stat().st_size for path in files if "__pycache__" not in path.parts)


def measure(places: Places, name: str, repeats: int) -> tuple[list[Line], dict[str, float]]:
    """All lines, and the largest differences from float64.

    Args:
        places: where things are.
        name: of the model.
        repeats: processes of each kind.
    """

    def repeat(what: str, ask: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
        say(what)
        ask()  # fills the disk's cache, and writes bytecode
        return [ask() for _ in range(repeats)]

    started = repeat(f"Python, {name}", lambda: places.ask("startup", "model"))
    called = repeat("Python, one kernel", lambda: places.ask("overhead", "tiny"))
    torch = repeat("torch", lambda: places.ask_torch("model"))

    def column(answers: list[dict[str, Any]], key: str) -> list[float]:
        return [answer[key] for answer in answers]

    def beyond(clock: str) -> list[float]:
        return [a[f"first{clock}"] - float(np.median(a[f"later{clock}"])) for a in started]

    lines = sizes(places.folder, places.runtime)
    lines += [
        times("Python: import numpy", column(started, "numpy"), "ms"),
        times("Python: import tvm_ffi", column(started, "tvm_ffi"), "ms"),
        times("Python: import tvm_equi.deploy, all of it", column(started, "package"), "ms"),
        times(f"Python: load {name}", column(started, "load"), "ms", LOAD_LIMIT),
        times("  of the processor", column(started, "load_cpu"), "ms"),
        times("Python: its first call", column(started, "first"), "ms"),
        times("Python: a later call", [np.median(answer["later"]) for answer in started], "ms"),
        times("Python: the first call beyond a later one", beyond(""), "ms", FIRST_LIMIT),
        times("  of the processor, all threads", beyond("_cpu"), "ms"),
        times(
            "Python: a call of one kernel",
            [call for answer in called for call in answer["calls"]],
            "us",
            PYTHON_LIMIT,
        ),
    ]
    if places.measure is not None:
        large = repeat(f"C++, {name}", lambda: places.ask_cpp("model"))
        tiny = repeat("C++, one kernel", lambda: places.ask_cpp("tiny"))
        calls = [answer["calls"]["median"] for answer in large]
        later = [a["first"] - a["calls"]["median"] for a in large]
        lines += [
            times(f"C++: load {name}", column(large, "load"), "ms", LOAD_LIMIT),
            times("C++: its first call", column(large, "first"), "ms"),
            times("C++: a later call", calls, "ms"),
            times("C++: the first call beyond a later one", later, "ms", FIRST_LIMIT),
            times(
                "C++: a call of one kernel", [a["calls"]["median"] for a in tiny], "us", CPP_LIMIT
            ),
        ]
    lines += [
        times("torch: import torch", column(torch, "torch"), "ms"),
        times("torch: import tvm_equi.load", column(torch, "package"), "ms"),
        times(f"torch: load {name}, as a function of tensors", column(torch, "load"), "ms"),
    ]
    errors = {key: max(a["errors"][key] for a in started) for key in started[0]["errors"]}
    return lines, errors


def build_measure(folder: Path) -> Path | None:
    """The C++ program, None where CMake or a compiler is missing.

    Args:
        folder: to build in.
    """
    commands = [
        ["cmake", "-S", ROOT / "bench" / "cpp", "-B", folder, f"-Dtvm_equi_DIR={cmake_folder()}"],
        ["cmake", "--build", folder],
    ]
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    commands[0].append(f"-DPython3_EXECUTABLE={sys.executable}")
    for command in commands:
        try:
            subprocess.run(
                [str(part) for part in command], capture_output=True, check=True, env=variables
            )
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"left out: C++ ({error})")
            return None
    return folder / "measure"


def table(lines: Sequence[Line], title: str) -> Table:
    """Medians and spread beside their limits.

    Args:
        lines: measured.
        title: of the table.
    """
    found = Table(title=title)
    for name in ("what", "median", "least to most", "limit", ""):
        found.add_column(name, justify="left" if name in ("what", "") else "right", no_wrap=True)
    for line in lines:
        several = len(line.values) > 1
        found.add_row(
            line.what,
            f"{line.median:.3g} {line.unit}",
            f"{min(line.values):.3g} to {max(line.values):.3g}" if several else "",
            "" if line.limit is None else f"{line.limit:.3g} {line.unit}",
            line.verdict,
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table and writes JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.deploy", description=__doc__)
    add = parser.add_argument
    add("--size", choices=sorted(SIZES), default="large", help="of MACE (default large)")
    add("--repeats", type=int, default=7, help="processes of each kind (default 7)")
    add("--mace", type=Path, default=ROOT / ".venv-mace/bin/python", help="Python with mace-torch")
    add("--runtime", type=Path, default=ROOT / ".venv-runtime/bin/python", help="without torch")
    add("--models", type=Path, help="folder of models; kept, and used again")
    add("--json", type=Path, default=RESULTS / "deploy.json")
    given = parser.parse_args(arguments)
    warn_if_busy()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.models or Path(temporary) / "models"
        if not (folder / "model.npz").exists():
            say("making models")
            make = [given.mace, "-m", "bench.deploy_make", folder, "--size", given.size]
            variables = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
            subprocess.run([str(part) for part in make], check=True, env=variables, cwd=ROOT)
        program = build_measure(Path(temporary) / "build")
        lines, errors = measure(
            Places(folder, given.runtime, program), f"mace-{given.size}", given.repeats
        )
    title = f"mace-{given.size}, {ATOMS} atoms of {STRUCTURE}, {given.repeats} processes"
    out = console()
    out.print(table(lines, title))
    listed = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    out.print(f"largest relative difference from mace-torch in float64: {listed}")
    data = {"machine": machine.processor(), "versions": machine.versions(), "errors": errors}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data | {"lines": [asdict(line) for line in lines]}, indent=1)
    given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
