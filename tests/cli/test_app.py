"""The command line: what it prints, its exit codes, and errors in one line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tvm_equi.artifact import doctor
from tvm_equi.cli.app import app, main, read_source

SPEC = {
    "tensor_product": {
        "irreps_in1": "2x0e+2x1o",
        "irreps_in2": "0e+1o",
        "irreps_out": "0e+1o",
        "instructions": "channelwise",
    }
}


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC))
    return path


def test_inspect_shows_generated_code(spec: Path) -> None:
    shown = run("inspect", spec, "--tir", "--asm")
    assert "# out: tensorir" in shown
    assert "T.prim_func" in shown
    assert "# out: assembly" in shown
    assert "ret" in shown


def test_inspect_draws_the_graph(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.svg"
    assert f"picture: {out}" in run("inspect", spec, "--graph", out).replace("\n", "")
    assert out.read_text().startswith("<?xml")
    text = run("inspect", spec, "--graph", tmp_path / "out.pdf", code=2)
    assert "error: draw: path: expected a name that ends in .html or .svg" in text


def test_python_sources(tmp_path: Path) -> None:
    file = tmp_path / "my_model.py"
    file.write_text(
        "from e3nn import o3\n"
        "layer = o3.Linear('2x0e', '1x0e')\n"
        "def make():\n    return o3.Linear('3x0e', '1x0e')\n"
    )
    assert read_source(f"{file}:layer").irreps_in.dim == 2
    assert read_source(f"{file}:make").irreps_in.dim == 3
    assert "3x0e" in run("inspect", f"{file}:make")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["inspect", "nowhere.json"],
            "error: tvm-equi: source: expected SPEC.json or",
        ),
        (["inspect", "nowhere.py:x"], "error: tvm-equi: source: expected a Python file, got"),
        (
            ["inspect", "{tmp}"],
            "error: load: {tmp}: expected an artifact's folder",
        ),
        (["inspect", "{tmp}/bad.json"], "error: spec: tensor_product: key: expected one of"),
        (["inspect", "{tmp}/code.py:absent"], "error: tvm-equi: source: expected a name that"),
        (
            ["inspect", "{tmp}/imports.py:x"],
            "error: tvm-equi: source: {tmp}/imports.py: expected",
        ),
        (["inspect", "{tmp}/absent.tvmeq"], "error: load: {tmp}/absent.tvmeq: expected a model"),
        (
            ["compile", "{tmp}/good.json", "-o", "{tmp}/a", "--target", "x86"],
            "error: target: expected host",
        ),
        (
            ["compile", "{tmp}/good.json", "-o", "{tmp}/a", "--dtype", "half"],
            "error: tvm-equi: --dtype: expected float32 or float64, got 'half'",
        ),
        (["demo", "--dtype", "half"], "error: tvm-equi: --dtype: expected float32 or float64"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "good.json").write_text(json.dumps(SPEC))
    bad = {"tensor_product": SPEC["tensor_product"] | {"instruction": "uvw"}}
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / "imports.py").write_text("import not_installed_anywhere\n")
    text = run(*(argument.format(tmp=tmp_path) for argument in arguments), code=2)
    last = text.strip().splitlines()[-1]
    assert last.startswith(message.format(tmp=tmp_path))
    assert "Traceback" not in text


def test_doctor() -> None:
    assert "apache-tvm" in run("doctor")


def test_doctor_of_a_machine_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: None)
    assert "pip install torch" in run("doctor", code=1)


def test_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["tvm-equi", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("demo", "compile", "inspect", "doctor"))
