"""Programs run for one thread: results of their own, bounded memory, errors in words."""

import os
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.programs import OUT, OUTPUTS, ROW, expected, inputs, write_model
from tvm_equi.deploy import machine
from tvm_equi.deploy.manifest import Value
from tvm_equi.deploy.model import load
from tvm_equi.deploy.runtime import function_table
from tvm_equi.errors import ArtifactError


@pytest.fixture(name="path", scope="module")
def _path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("machine") / "model.tvmeq")


def test_results_are_not_touched_by_later_calls(path: Path) -> None:
    model, first, second = load(path), inputs(6, seed=1), inputs(6, seed=2)
    before = model(**first)
    kept = {name: array.copy() for name, array in before.items()}
    model(**second)
    for name, array in before.items():
        np.testing.assert_array_equal(array, kept[name])


def test_results_may_be_changed(path: Path) -> None:
    model, given = load(path), inputs(6)
    for _ in range(2):
        found = model(**given)
        np.testing.assert_allclose(found["z"], expected(**given), rtol=1e-5, atol=1e-5)
        for array in found.values():  # two of them are an input and a parameter, handed through
            array[:] = 0
    assert given["x"].any()


def test_the_pool_is_emptied_when_sizes_change(path: Path) -> None:
    model, emptied = load(path), []
    state = model._local.machine
    state._empty_pool = lambda: emptied.append(1)
    for rows in (3, 4, 5, 3, 4, 4):
        model(**inputs(rows))
    assert not emptied
    for rows in (6, 7, 14, 20):
        model(**inputs(rows))
    assert len(emptied) == 2
    for rows in range(257, 321):  # programs round memory up to the same for all of these
        model(**inputs(rows))
    assert len(emptied) == 2
    assert len(state._sizes) <= machine.MAX_SIZES


def test_memory_is_bounded_while_sizes_change(path: Path) -> None:
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) / 256  # MiB, of 4 KiB pages

    model = load(path)
    model(**inputs(20000))
    before = resident()
    for rows in range(20000, 26000, 100):
        model(**inputs(rows))
    grown = resident() - before
    assert grown < 200  # 60 sizes of about 14 MiB each


def test_no_machine_is_made_while_functions_are_added(path: Path) -> None:
    model = load(path)
    worker = threading.Thread(target=lambda: model(**inputs(3)))  # with a machine of its own
    with function_table():
        worker.start()
        worker.join(0.3)
        assert worker.is_alive()
    worker.join()
    check = model(**inputs(3))["z"]
    np.testing.assert_allclose(check, expected(**inputs(3)), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_waits_for_nobody(path: Path) -> None:
    wanted = load(path)(**inputs(3))["z"]
    with function_table():
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if np.array_equal(load(path)(**inputs(3))["z"], wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_kernel_that_is_not_in_the_file(tmp_path: Path) -> None:
    from tests.deploy.programs import program_library

    unknown = program_library("tvm_equi.kernel." + "f" * 32)
    path = write_model(tmp_path / "model.tvmeq", program=unknown)
    with pytest.raises(ArtifactError, match=r"model\.tvmeq: main: .*tvm_equi\.kernel\.ffff"):
        load(path)(**inputs(3))


@pytest.mark.parametrize(
    ("outputs", "got"),
    [
        ((*OUTPUTS, Value("energy", "float32", ("rows",))), "('float32', 1)"),
        ((Value("z", "float64", ("rows", OUT)), *OUTPUTS[1:]), "('float32', 2)"),
    ],
)
def test_a_manifest_that_lies_about_outputs(
    tmp_path: Path, outputs: tuple[Value, ...], got: str
) -> None:
    path = write_model(tmp_path / "model.tvmeq", outputs=outputs)
    with pytest.raises(ArtifactError, match=rf"main: outputs: expected .*, got .*{re.escape(got)}"):
        load(path)(**inputs(3))


def test_a_manifest_that_lies_about_inputs(tmp_path: Path) -> None:
    values = (Value("x", "float32", ("rows", 7)), Value("shift", "float32", ("rows", OUT)))
    path = write_model(tmp_path / "model.tvmeq", inputs=values)
    given = inputs(3) | {"x": np.zeros((3, 7), np.float32)}
    assert ROW != 7
    with pytest.raises(ArtifactError, match=r"main: expected the program to run, got: .*7 vs\. 99"):
        load(path)(**given)
