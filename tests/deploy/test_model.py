"""Model files run on numpy arrays: values, threads, forks, and files that do not fit."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tvm_equi
from tests.deploy.programs import OUT, OUTPUTS, TARGET, expected, inputs, write_model
from tvm_equi.deploy import container
from tvm_equi.deploy.manifest import Target, Value
from tvm_equi.deploy.model import Model, load
from tvm_equi.deploy.targets import LEVELS
from tvm_equi.errors import ArgumentError, ArgumentTypeError, ArtifactError


@pytest.fixture(name="path", scope="module")
def _path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.tvmeq")


def check(model: Model, given: dict[str, np.ndarray[Any, Any]]) -> None:
    found = model(**given)
    assert [*found] == ["z", "x_again", "weights_again", "z_again"]
    np.testing.assert_allclose(found["z"], expected(**given), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["x_again"], given["x"])


@pytest.mark.parametrize("rows", [0, 1, 7, 3000])
@pytest.mark.parametrize("threads", [1, 2])
def test_values(path: Path, rows: int, threads: int) -> None:
    check(load(path, threads=threads), inputs(rows))


def test_arrays_of_any_strides(path: Path) -> None:
    model, given = load(path), inputs(9)
    check(model, {name: np.asfortranarray(array) for name, array in given.items()})
    check(model, {name: array[::-2] for name, array in given.items()})


def test_by_position(path: Path) -> None:
    given = inputs(5)
    found = load(path)(given["x"], given["shift"])
    np.testing.assert_allclose(found["z"], expected(**given), rtol=1e-5, atol=1e-5)


def test_it_says_what_it_is(path: Path) -> None:
    model = load(path, threads=2)
    assert model.target == TARGET
    assert model.targets == (TARGET,)
    assert [value.name for value in model.inputs] == ["x", "shift"]
    assert [value.name for value in model.outputs] == ["z", "x_again", "weights_again", "z_again"]
    assert repr(model).splitlines() == [
        "Model(model.tvmeq: main, x86-64-v2, 2 threads)",
        "  x: float32 [rows, 99]",
        "  shift: float32 [rows, 60]",
        "  -> z: float32 [rows, 60]",
        "  -> x_again: float32 [rows, 99]",
        "  -> weights_again: float32 [660]",
        "  -> z_again: float32 [rows, 60]",
    ]


def test_wrong_inputs_are_named(path: Path) -> None:
    model, given = load(path), inputs(5)
    wanted = r"model\.tvmeq: main: shift: expected float32 \[rows, 60\], got .*; rows is 5 in x"
    with pytest.raises(ArgumentError, match=wanted):
        model(**given | {"shift": given["shift"][:4]})
    with pytest.raises(ArgumentTypeError, match=r"model\.tvmeq: main: x: .* got float64 \[5, 99\]"):
        model(**given | {"x": given["x"].astype(float)})
    check(model, given)


def test_many_threads_call_one_model(path: Path) -> None:
    model, problems = load(path, threads=1), []

    def work(seed: int) -> None:
        try:
            for turn in range(20):
                check(model, inputs(5 + seed + turn % 3, seed=seed))
        except AssertionError as error:
            problems.append(error)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not problems


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_goes_on(path: Path) -> None:
    model, given = load(path, threads=2), inputs(3000)
    wanted = model(**given)["z"]
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(model(**given)["z"], wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0


ON_FORK = """
import os, sys
sys.modules["torch"] = None
import numpy as np
from tvm_equi.deploy import load
model = load(sys.argv[1], threads=3)
x, shift = np.ones((3000, 99), "f4"), np.ones((3000, 60), "f4")
def forked():
    reading, writing = os.pipe()
    if os.fork() == 0:
        found = float(model(x, shift)["z"].sum())
        os.write(writing, f"{len(os.listdir('/proc/self/task'))} {found}".encode())
        os._exit(0)
    os.wait()
    return os.read(reading, 99).decode().split()
before = forked()
wanted = str(float(model(x, shift)["z"].sum()))
after = forked()
print(before[0], after[0], before[1] == after[1] == wanted)
"""


def test_threads_of_a_forked_process(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ON_FORK, path], capture_output=True
    )
    pool = str(max(3, len(os.sched_getaffinity(0)))).encode()
    assert done.stdout.split() == [pool, b"1", b"True"], done.stderr


def test_another_program(path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"program: expected one of main, got 'energy'"):
        load(path, program="energy")


def test_another_target(path: Path) -> None:
    wanted = r"target: expected one of 'x86-64-v2', got 'x86-64-v3'; did you mean 'x86-64-v2'\?"
    with pytest.raises(ArgumentError, match=wanted):
        load(path, target="x86-64-v3")
    check(load(path, target=TARGET), inputs(3))


def test_a_program_without_code_for_the_best_target(path: Path, tmp_path: Path) -> None:
    held = container.read(path)
    better = Target("host", "x86_64", (*LEVELS[TARGET].split(), "sse2"))
    kernels = (
        replace(entry, libraries={**entry.libraries, "host": entry.libraries[TARGET]})
        for entry in held.manifest.kernels
    )
    manifest = replace(
        held.manifest, targets=(*held.manifest.targets, better), kernels=tuple(kernels)
    )
    sections = {name: bytes(held.section(name)) for name in held.sections}
    both = container.write(tmp_path / "both.tvmeq", manifest, sections)
    model = load(both)
    assert (model.target, model.targets) == (TARGET, (TARGET, "host"))
    check(model, inputs(3))
    with pytest.raises(ArgumentError, match=r"target: expected one of 'x86-64-v2', got 'host'"):
        load(both, target="host")


def test_outputs_that_numpy_has_no_dtype_for(tmp_path: Path) -> None:
    outputs = (Value("z", "bfloat16", ("rows", OUT)), *OUTPUTS[1:])
    path = write_model(tmp_path / "m.tvmeq", outputs=outputs)
    with pytest.raises(ArtifactError, match=r"main: z: expected a dtype of numpy's, got bfloat16"):
        load(path)


def test_an_array_that_no_memory_holds_a_copy_of(path: Path) -> None:
    model, rows = load(path), 1 << 50
    given = {name: np.broadcast_to(row, (rows, row.size)) for name, row in inputs(1).items()}
    with pytest.raises(ArtifactError, match=r"main: expected the program to run, got: Unable to"):
        model(**given)
    check(model, inputs(3))


def test_a_target_that_this_cpu_cannot_run(tmp_path: Path) -> None:
    features = (*LEVELS[TARGET].split(), "hyperdrive")
    path = write_model(tmp_path / "m.tvmeq", target=Target("host", "x86_64", features))
    for target in (None, "host"):
        with pytest.raises(ArtifactError, match=r"this CPU lacks hyperdrive"):
            load(path, target=target)


def test_wrong_numbers_of_threads(path: Path) -> None:
    for count in (0, 10**12):
        wanted = rf"load: threads: expected a number from 1 to 1024, got {count}"
        with pytest.raises(ArgumentError, match=wanted):
            load(path, threads=count)
    wanted = r"load: threads: expected a whole number, got str"
    with pytest.raises(ArgumentTypeError, match=wanted):
        load(path, threads="2")  # type: ignore[arg-type]


def test_no_code_runs_from_a_damaged_file(path: Path, tmp_path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    damaged = tmp_path / "model.tvmeq"
    damaged.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"expected the manifest's sha256"):
        load(damaged)


def test_public_names() -> None:
    assert tvm_equi.deploy.load is load
    assert tvm_equi.deploy.Model is Model
    with pytest.raises(AttributeError, match=r"module 'tvm_equi\.deploy' has no attribute 'run'"):
        tvm_equi.deploy.run  # noqa: B018
