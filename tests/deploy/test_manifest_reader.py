"""Manifests that lie: each field, alone and against the others, is refused by its name."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.model_files import BACKWARD, FORWARD, GPUS, MANIFEST, SECTIONS, V2, V3
from tvm_equi.deploy.manifest import SCHEMA_KEY, manifest_fields
from tvm_equi.deploy.manifest_reader import FIELDS, check_schema, read_manifest
from tvm_equi.errors import ArtifactError

Fields = dict[str, Any]


def fields() -> Fields:
    return copy.deepcopy(manifest_fields(MANIFEST)) | {"sections": []}


def test_the_example_is_right() -> None:
    assert read_manifest("file", fields(), SECTIONS) == MANIFEST
    assert set(fields()) == set(FIELDS)


def put(value: object, *path: str | int) -> Callable[[Fields], None]:
    """Changes the field at a path."""

    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[Fields], None]:
    """Removes the field at a path."""

    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


CPU = {"name": "host", "machine": "x86_64", "features": []}
GPU = {"name": "sm_90", "architectures": ["sm_90"]}
VALUE = {"name": "x", "dtype": "float32", "shape": [3]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(2, SCHEMA_KEY), f"{SCHEMA_KEY}: expected schema 1, got 2; update tvm_equi"),
        (put(0, SCHEMA_KEY), f"{SCHEMA_KEY}: expected schema 1, got 0"),
        (put("1", SCHEMA_KEY), f"{SCHEMA_KEY}: expected schema 1, got '1'"),
        (put(True, SCHEMA_KEY), f"{SCHEMA_KEY}: expected schema 1, got true"),
        (drop("plans"), "expected plans, got none"),
        (put(1, "extra"), "expected derivatives, dtype, graph, kernels, parameters, plans, "),
        (put([], "versions"), "versions: expected an object, got a list of 0"),
        (put({"tvm": 1}, "versions"), "versions: 'tvm': expected a text, got 1"),
        (put("int8", "dtype"), "dtype: expected one of 'float32', 'float64', 'float16', 'bfloat"),
        (put(-1, "derivatives"), "derivatives: expected a number from 0 to 2^63 - 1, got -1"),
        (put("2", "derivatives"), "derivatives: expected a number from 0 to 2^63 - 1, got '2'"),
        # Targets
        (put([], "targets"), "targets: expected one or more, got none"),
        (put([CPU, CPU], "targets"), "targets: expected 'host' once, got it twice"),
        (put(["host"], "targets"), "targets[0]: expected an object, got 'host'"),
        (drop("targets", 0, "machine"), "targets[0]: expected machine, got none"),
        (put("../x86", "targets", 0, "name"), "targets[0]: name: expected a name of letters"),
        (put("x" * 256, "targets", 0, "name"), "targets[0]: name: expected a name of letters"),
        (put("x86 64", "targets", 0, "machine"), "targets[0]: machine: expected a machine such"),
        (put(["AVX 2"], "targets", 0, "features"), "targets[0]: features[0]: expected a CPU fea"),
        (put(["a", "a"], "targets", 0, "features"), "targets[0]: features: expected 'a' once"),
        (put([GPU | {"machine": "x"}], "targets"), "targets[0]: expected architectures, name onl"),
        (put([GPU | {"name": "sm_80"}], "targets"), "targets[0]: architectures: expected those o"),
        (put([{"name": "", "architectures": []}], "targets"), "targets[0]: name: expected a name"),
        (put(["sm_1"], "targets", 2, "architectures"), "targets[2]: architectures[0]: expected a "),
        # Kernels
        (put("a" * 63, "kernels", 0, "key"), "kernels[0]: key: expected 64 hexadecimal digits"),
        (
            put("\u0661" * 64, "kernels", 0, "key"),
            "kernels[0]: key: expected 64 hexadecimal digits",
        ),
        (put(BACKWARD, "kernels", 0, "key"), f"kernels: expected '{BACKWARD[:60]}'... once"),
        (put("int64", "kernels", 0, "dtype"), "kernels[0]: dtype: expected one of 'float32'"),
        (put("k", "kernels", 0, "libraries", V2), "kernels[0]: libraries: 'x86-64-v2': expected "),
        (
            put("../k/f2.so", "kernels", 0, "libraries", V2),
            "kernels[0]: libraries: 'x86-64-v2': expected the name of a section, got '../k/f2.so'",
        ),
        (put("/k/f2.so", "kernels", 0, "libraries", V2), "kernels[0]: libraries: 'x86-64-v2': ex"),
        (put(["k/f2.so"], "kernels", 0, "libraries", V2), "kernels[0]: libraries: 'x86-64-v2': e"),
        (
            put("k/f2.so", "kernels", 0, "libraries", "host"),
            "kernels[0]: libraries: expected targets among x86-64-v2, x86-64-v3, "
            "sm_80,sm_90, got 'host'",
        ),
        (drop("kernels", 0, "libraries", V2), "kernels[0]: libraries: expected one for 'x86-64-v"),
        (put([], "kernels", 0, "libraries"), "kernels[0]: libraries: expected an object, got a l"),
        # Plans
        (put("conv", "plans", 0, "operator"), "plans[0]: operator: expected one of 'run', 'conv"),
        (put("p 0:0", "plans", 0, "plan"), "plans: expected 'p 0:0' once, got it twice"),
        (put([3], "plans", 0, "inputs", 0), "plans[0]: inputs[0]: expected [columns, rows], got"),
        (put([-3, "row"], "plans", 0, "inputs", 0), "plans[0]: inputs[0]: columns: expected a nu"),
        (put([3, "rows"], "plans", 1, "inputs", 0), "plans[1]: inputs[0]: rows: expected one of "),
        (put([3, "sender"], "plans", 0, "inputs", 0), "plans[0]: inputs[0]: rows: expected one o"),
        (put("c" * 64, "plans", 0, "passes", 0, "kernel"), "plans[0]: passes[0]: kernel: expecte"),
        (put("sender", "plans", 0, "passes", 0, "order"), "plans[0]: passes[0]: order: expected "),
        (put("", "plans", 1, "passes", 0, "order"), "plans[1]: passes[0]: order: expected one of"),
        (put([1], "plans", 0, "passes", 0, "outputs"), "plans[0]: passes[0]: outputs: expected n"),
        (put([9], "plans", 1, "passes", 0, "copied"), "plans[1]: passes[0]: copied: expected num"),
        (put([-1], "plans", 1, "passes", 0, "summed"), "plans[1]: passes[0]: summed[0]: expected"),
        (put([], "plans", 0, "passes"), "plans[0]: passes: expected each of 1 outputs once, got "),
        (put([0], "plans", 1, "passes", 1, "outputs"), "plans[1]: passes: expected each of 2 out"),
        (drop("plans", 1, "passes", 1), "plans[1]: passes: expected each of 2 outputs once, got o"),
        # Parameters and graph
        (put("p", "parameters"), "parameters: expected the name of a section, got 'p'"),
        (put(None, "parameters"), "parameters: expected a section, since program 'main' has para"),
        (put("../graph.json", "graph"), "graph: expected the name of a section, got '../graph.js"),
        (put(0, "graph"), "graph: expected a text, got 0"),
        # Programs
        (put("", "programs", 0, "name"), "programs[0]: name: expected a name of letters"),
        (put("../main", "programs", 0, "name"), "programs[0]: name: expected a name of letters"),
        (put([VALUE, VALUE], "programs", 0, "inputs"), "programs[0]: inputs: expected 'x' once"),
        (put([VALUE, VALUE], "programs", 0, "outputs"), "programs[0]: outputs: expected 'x' once"),
        (put([], "programs", 0, "outputs"), "programs[0]: outputs: expected one or more, got non"),
        (put("f32", "programs", 0, "inputs", 0, "dtype"), "programs[0]: inputs[0]: dtype: expec"),
        (put([-1], "programs", 0, "inputs", 0, "shape"), "programs[0]: inputs[0]: shape[0]: expe"),
        (put([1.5], "programs", 0, "inputs", 0, "shape"), "programs[0]: inputs[0]: shape[0]: exp"),
        (put(["a-1"], "programs", 0, "inputs", 0, "shape"), "programs[0]: inputs[0]: shape[0]: e"),
        (put("ab", "programs", 0, "inputs", 0, "shape"), "programs[0]: inputs[0]: shape: expecte"),
        (put([1], "programs", 0, "parameters"), "programs[0]: parameters[0]: expected a text"),
        (put({}, "programs", 0, "libraries"), "programs[0]: libraries: expected one for a target"),
        (put({GPUS: "k/fg.so"}, "programs", 0, "libraries"), "programs[0]: libraries: expected t"),
        (put({V3: "x"}, "programs", 0, "libraries"), "programs[0]: libraries: 'x86-64-v3': expec"),
        (put({}, "programs", 0, "kernels"), "programs[0]: kernels: expected the targets of libra"),
        (put({V2: []}, "programs", 0, "kernels"), "programs[0]: kernels: expected the targets of"),
        (put({V3: ["x"]}, "programs", 0, "kernels"), "programs[0]: kernels: 'x86-64-v3'[0]: expe"),
        (put({V3: {}}, "programs", 0, "kernels"), "programs[0]: kernels: 'x86-64-v3': expected a"),
    ],
)
def test_lies(change: Callable[[Fields], None], message: str) -> None:
    data = fields()
    change(data)
    with pytest.raises(ArtifactError) as error:
        read_manifest("file", data, SECTIONS)
    assert str(error.value).startswith(f"file: {message}")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("name", list(FIELDS))
@pytest.mark.parametrize("value", [None, True, -1, "", [], {}, [None], [[]], [{}], {"": None}])
def test_any_other_type_is_refused_or_empty(name: str, value: object) -> None:
    data = fields() | {name: value}
    allowed = {"versions": [{}], "graph": [None], "plans": [[]], "programs": [[]]}
    if name == "sections" or any(value == each for each in allowed.get(name, [])):
        read_manifest("file", data, SECTIONS)
        return
    with pytest.raises(ArtifactError, match=rf"^file: ({name}|plans\[0\]|{SCHEMA_KEY})"):
        read_manifest("file", data, SECTIONS)


def test_kernels_of_two_dtypes() -> None:
    data = fields()
    data["kernels"].append(data["kernels"][0] | {"dtype": "float64"})
    found = read_manifest("file", data, SECTIONS).kernels
    assert [(entry.key, entry.dtype) for entry in found[::2]] == [
        (FORWARD, "float32"),
        (FORWARD, "float64"),
    ]


def test_a_newer_schema_is_told_before_anything_else() -> None:
    with pytest.raises(ArtifactError, match=r"expected schema 1, got 3; update tvm_equi$"):
        check_schema("file", {SCHEMA_KEY: 3, "new": None})
    with pytest.raises(ArtifactError, match=r"expected an object, got 3$"):
        check_schema("file", 3)
