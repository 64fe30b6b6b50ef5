"""Runs in an environment that has neither torch nor TVM's package; `test_python.py` makes it.

    python without_torch.py FOLDER

FOLDER has models (*.tvmeq) and cases (*.npz). Prints JSON: what cannot be imported, what is loaded
after all, largest differences from the expected outputs, and the texts of errors.
"""

import importlib.util
import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

import tvm_equi

ABSENT = ("torch", "e3nn", "tvm", "networkx", "rich", "typer", "scipy")


def cases(folder: Path, dtype: str) -> list[dict[str, Any]]:
    """Inputs and expected outputs, in a dtype."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as data:
            arrays = {name: data[name] for name in data.files}
        for name, array in arrays.items():
            if array.dtype == np.float64 and not name.startswith("expected_"):
                arrays[name] = array.astype(dtype)
        found.append(arrays)
    return found


def difference(model: Any, case: dict[str, Any]) -> float:
    """The largest difference of an output, over its largest magnitude."""
    found = model(**{value.name: case[value.name] for value in model.inputs})
    wanted = {name: case[f"expected_{name}"] for name in found}
    return max(
        float(np.abs(found[name] - array).max() / np.abs(array).max())
        for name, array in wanted.items()
    )


def error(call: Any, *args: Any, **named: Any) -> str:
    """The type and text of what a call raises."""
    try:
        call(*args, **named)
    except tvm_equi.errors.TvmEquiError as found:
        return f"{type(found).__name__}: {found}"
    return "none"


def in_threads(model: Any, some: list[dict[str, Any]]) -> float:
    """The largest difference where several threads call one model, each with another case."""
    found: list[float] = []
    workers = [
        threading.Thread(target=lambda case=case: found.append(difference(model, case)))
        for case in some * 3
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(found) if len(found) == len(workers) else float("inf")


def main(folder: Path) -> dict[str, Any]:
    """What there is to say."""
    report: dict[str, Any] = {
        "absent": [name for name in ABSENT if importlib.util.find_spec(name) is None],
        "differences": {},
    }
    for path in sorted(folder.glob("*.tvmeq")):
        dtype = path.stem
        some = cases(folder, dtype)
        for threads in (1, 2):
            model = tvm_equi.deploy.load(path, threads=threads)
            found = max(difference(model, case) for case in some)
            report["differences"][f"{dtype}, {threads} threads"] = found
        report["differences"][f"{dtype}, called by threads"] = in_threads(model, some)
    first = {value.name: some[0][value.name] for value in model.inputs}
    wrong = first | {"senders": first["senders"] + 1000}
    report["errors"] = {
        "index": error(model, **wrong),
        "size": error(model, **first | {"shifts": first["shifts"][1:]}),
        "dtype": error(model, **first | {"positions": first["positions"].astype("f2")}),
        "missing": error(tvm_equi.deploy.load, folder / "none.tvmeq"),
    }
    report["still right"] = difference(model, some[0])
    try:
        tvm_equi.load  # noqa: B018
    except ImportError as found_error:
        report["errors"]["tvm_equi.load"] = str(found_error)
    report["loaded"] = [name for name in ABSENT if name in sys.modules]
    return report


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
