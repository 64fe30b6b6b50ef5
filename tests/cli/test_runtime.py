"""The command `tvm-equi runtime`."""

from pathlib import Path

from typer.testing import CliRunner

from tvm_equi.cli.app import app


def test_runtime(tmp_path: Path) -> None:
    folder = tmp_path / "runtime"
    done = CliRunner().invoke(app, ["runtime", "-o", str(folder)])
    assert done.exit_code == 0, done.output
    text = done.stdout.replace("\n", "")
    assert "libtvm_ffi.so" in text
    assert "MB in all)" in text
    assert (folder / "lib" / "libtvm_runtime.so").is_file()
    again = CliRunner().invoke(app, ["runtime", "-o", str(folder)])
    assert again.exit_code == 2
    assert "expected a new or empty folder" in again.output
