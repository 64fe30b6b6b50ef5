"""Arguments are put in order, and wrong ones are refused by name."""

import re
from typing import Any

import numpy as np
import pytest

from tvm_equi.deploy.arguments import Signature, describe
from tvm_equi.deploy.manifest import Value
from tvm_equi.errors import ArgumentError, ArgumentTypeError, ArtifactError

VALUES = (
    Value("vectors", "float32", ("edges", 3)),
    Value("senders", "int64", ("edges",)),
    Value("species", "int64", ("nodes",)),
    Value("cell", "float32", (3, 3)),
)
SIGNATURE = Signature("model", VALUES)


def arrays(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "vectors": np.zeros((5, 3), np.float32),
        "senders": np.zeros(5, np.int64),
        "species": np.zeros(2, np.int64),
        "cell": np.eye(3, dtype=np.float32),
    }
    return found | changes


def test_by_position_and_by_name() -> None:
    given = arrays()
    for args, named in (
        (tuple(given.values()), {}),
        ((), dict(reversed(given.items()))),
        ((given["vectors"],), {name: given[name] for name in ("cell", "species", "senders")}),
    ):
        found, sizes = SIGNATURE.bind(args, named)
        assert [id(array) for array in found] == [id(array) for array in given.values()]
        assert dict(zip(SIGNATURE.sizes, sizes, strict=True)) == {"edges": 5, "nodes": 2}


def test_no_rows_are_rows_too() -> None:
    given = arrays(vectors=np.zeros((0, 3), np.float32), senders=np.zeros(0, np.int64))
    assert SIGNATURE.bind((), given)[1] == (0, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vectors": np.zeros((5, 3))},
            "model: vectors: expected a numpy array, float32 [edges, 3], got float64 [5, 3]; "
            "cast it with .astype('float32')",
        ),
        (
            {"senders": [0, 1]},
            "model: senders: expected a numpy array, int64 [edges], got list; "
            "np.asarray(x, dtype='int64') makes one",
        ),
    ],
)
def test_wrong_types(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"^{re.escape(message)}$"):
        SIGNATURE.bind((), arrays(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vectors": np.zeros((5, 4), np.float32)},
            "model: vectors: expected float32 [edges, 3], got float32 [5, 4]",
        ),
        (
            {"vectors": np.zeros(15, np.float32)},
            "model: vectors: expected float32 [edges, 3], got float32 [15]",
        ),
        (
            {"senders": np.zeros(6, np.int64)},
            "model: senders: expected int64 [edges], got int64 [6]; edges is 5 in vectors",
        ),
        (
            {"forces": 0},
            "model: expected the inputs vectors, senders, species, cell, got 'forces' too",
        ),
    ],
)
def test_wrong_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        SIGNATURE.bind((), arrays(**changes))


def test_wrong_numbers_of_arguments() -> None:
    given = arrays()
    with pytest.raises(ArgumentError, match=r"model: expected 4 inputs \(vectors, .*\), got 5"):
        SIGNATURE.bind((*given.values(), 1), {})
    with pytest.raises(ArgumentError, match=r"expected the inputs .*, got no species, cell$"):
        SIGNATURE.bind((given["vectors"], given["senders"]), {})
    with pytest.raises(ArgumentError, match=r"model: vectors: expected it once, got it twice"):
        SIGNATURE.bind((given["vectors"],), given)


def test_a_dtype_that_numpy_lacks() -> None:
    wanted = r"model: x: expected a dtype of numpy's, got bfloat16"
    with pytest.raises(ArtifactError, match=wanted):
        Signature("model", [Value("x", "bfloat16", (3,))])


def test_in_words() -> None:
    assert describe(VALUES[0]) == "float32 [edges, 3]"
    assert describe(Value("energy", "float64", ())) == "float64 []"
