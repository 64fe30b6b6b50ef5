"""The cache on disk: hits, damage, folders that cannot be used, and many processes at once."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import tvm_equi
from tvm_equi.artifact import cache
from tvm_equi.errors import ArgumentError, ArtifactError

KEY = "0123456789abcdef" * 4
OTHER_KEY = KEY[:2] + "f" * 62
pytestmark = pytest.mark.filterwarnings("error::tvm_equi.artifact.cache.CacheWarning")


class Builder:
    """Writes a small library and counts how often it was asked to."""

    def __init__(self, content: bytes = b"library") -> None:
        self.content = content
        self.calls = 0

    def __call__(self, folder: Path) -> dict[str, object]:
        assert list(folder.iterdir()) == []
        self.calls += 1
        (folder / "kernel.so").write_bytes(self.content)
        return {"symbols": ["forward"], "call": self.calls}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a temporary folder of the test's own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_private_entries", {})
    return tmp_path / "cache"


def _entry_folder(key: str = KEY) -> Path:
    return cache.cache_folder() / key[:2] / key


def _damage_library(folder: Path) -> None:
    (folder / "kernel.so").write_bytes(b"labrary")


def _truncate_library(folder: Path) -> None:
    os.truncate(folder / "kernel.so", 3)


def _garble_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"symbols": [')


def _binary_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00")


def _list_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def _drop_library(folder: Path) -> None:
    (folder / "kernel.so").unlink()


def _drop_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _no_space(*_: object, **__: object) -> NoReturn:
    raise OSError(28, "No space left on device")


def test_miss_builds_and_hit_does_not() -> None:
    build = Builder()
    first = cache.fetch(KEY, build)
    second = cache.fetch(KEY, build)
    assert build.calls == 1
    assert first == second
    assert first.library == _entry_folder() / "kernel.so"
    assert first.library.read_bytes() == b"library"
    assert first.manifest["symbols"] == ["forward"]
    assert first.manifest["library_size"] == 7
    assert json.loads((_entry_folder() / "manifest.json").read_text()) == first.manifest


def test_another_key_is_another_entry() -> None:
    cache.fetch(KEY, Builder(b"one"))
    assert cache.fetch(OTHER_KEY, Builder(b"two")).library.read_bytes() == b"two"
    assert cache.fetch(KEY, Builder(b"three")).library.read_bytes() == b"one"


def test_hit_takes_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.fetch(KEY, Builder())
    monkeypatch.setattr(cache.filelock, "FileLock", _no_space)
    cache.fetch(KEY, Builder())


def test_nothing_is_left_beside_an_entry(tmp_path: Path) -> None:
    cache.fetch(KEY, Builder())
    names = {path.name for path in _entry_folder().parent.iterdir()}
    assert names == {KEY, f"{KEY}.lock"}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_default_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder().name == "tvm_equi"


def test_relative_folder_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", "here")
    assert cache.cache_folder() == tmp_path / "here"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_damage_library, "kernel.so: the checksum is not that of manifest.json"),
        (_truncate_library, "kernel.so: expected 7 bytes, got 3"),
        (_garble_manifest, "manifest.json is not JSON"),
        (_binary_manifest, "manifest.json is not JSON"),
        (_list_manifest, "manifest.json: expected an object, got list"),
        (_drop_library, "kernel.so is missing"),
        (_drop_manifest, "manifest.json is missing"),
    ],
)
def test_damaged_entry_is_rebuilt_with_a_warning(
    damage: Callable[[Path], None], reason: str
) -> None:
    build = Builder()
    cache.fetch(KEY, build)
    damage(_entry_folder())
    expected = f"cache entry {_entry_folder()} is damaged and is built again: {reason}"
    with pytest.warns(cache.CacheWarning, match=re.escape(expected)):
        entry = cache.fetch(KEY, build)
    assert build.calls == 2
    assert entry.library.read_bytes() == b"library"
    assert cache.fetch(KEY, build) == entry
    assert build.calls == 2


def _assert_private(build: Builder) -> None:
    """Built once, outside the cache folder, and said once."""
    with pytest.warns(cache.CacheWarning, match=r"cannot be used .*set TVM_EQUI_CACHE_DIR") as seen:
        entry = cache.fetch(KEY, build)
    assert len(seen) == 1
    assert entry.library.read_bytes() == b"library"
    assert cache.cache_folder() not in entry.library.parents
    assert cache.fetch(KEY, build) == entry
    assert build.calls == 1
    cache.fetch(OTHER_KEY, Builder())


def test_cache_folder_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", str(tmp_path / "file" / "cache"))
    _assert_private(Builder())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_cache_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", "/proc/tvm_equi")
    _assert_private(Builder())


def test_lock_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.filelock.FileLock, "acquire", _no_space)
    _assert_private(Builder())


@pytest.mark.parametrize("operation", ["_write", "_sync_folder"])
def test_full_disk(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, operation, _no_space)
    _assert_private(Builder())
    assert not _entry_folder().exists()
    assert list(cache.cache_folder().glob("*/*.tmp")) == []


def test_damaged_entry_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.fetch(KEY, Builder())
    _truncate_library(_entry_folder())
    monkeypatch.setattr(cache, "_write", _no_space)
    with pytest.warns(cache.CacheWarning) as seen:
        entry = cache.fetch(KEY, Builder())
    assert entry.library.read_bytes() == b"library"
    assert ["damaged" in str(seen[0].message), "No space" in str(seen[1].message)] == [True, True]


def test_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ArtifactError, match=r"fetch: temporary folder: .*; set TMPDIR"):
        cache.fetch(KEY, Builder())


def test_lock_held_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_EQUI_LOCK_TIMEOUT", "0.1")
    _entry_folder().parent.mkdir(parents=True)
    build = Builder()
    with cache.filelock.FileLock(_entry_folder().with_suffix(".lock")):
        done = threading.Event()

        def wait() -> None:
            with pytest.warns(cache.CacheWarning, match="did not come free in 0.1 s"):
                cache.fetch(KEY, build)
            done.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        waiter.join(20)
    assert done.is_set()
    assert build.calls == 1
    assert not _entry_folder().exists()


@pytest.mark.parametrize("timeout", ["soon", "-1", "nan"])
def test_refuses_a_bad_timeout(timeout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_EQUI_LOCK_TIMEOUT", timeout)
    message = f"fetch: TVM_EQUI_LOCK_TIMEOUT: expected seconds >= 0, got '{timeout}'"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        cache.fetch(KEY, Builder())


@pytest.mark.parametrize("key", ["", "../" * 21 + "x", KEY.upper(), KEY + "\n"])
def test_refuses_a_bad_key(key: str) -> None:
    with pytest.raises(ArgumentError, match="fetch: key: expected 64 lower-case hex digits, got "):
        cache.fetch(key, Builder())


def test_error_of_build_is_passed_on_and_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> dict[str, object]:
        (folder / "kernel.so").touch()
        raise FileNotFoundError("no linker")

    with pytest.raises(FileNotFoundError, match="no linker"):
        cache.fetch(KEY, build)
    assert not _entry_folder().exists()
    assert list((tmp_path / "tmp").iterdir()) == []
    cache.fetch(KEY, Builder())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": Path("x")}, "expected JSON fields, got "),
        ({"value": float("nan")}, "expected JSON fields, got "),
        ({"library_size": 3}, "expected fields other than ['library_sha256', 'library_size'], got"),
    ],
)
def test_refuses_fields_that_do_not_fit(fields: dict[str, object], message: str) -> None:
    def build(folder: Path) -> dict[str, object]:
        (folder / "kernel.so").touch()
        return fields

    with pytest.raises(ArtifactError, match=re.escape(f"fetch: build: {message}")):
        cache.fetch(KEY, build)


def test_refuses_a_build_without_library() -> None:
    with pytest.raises(ArtifactError, match=r"fetch: build: expected it to write .*kernel\.so"):
        cache.fetch(KEY, lambda folder: {})


def test_size_and_clear() -> None:
    assert cache.size() == (0, 0)
    cache.fetch(KEY, Builder())
    cache.fetch(OTHER_KEY, Builder())
    (cache.cache_folder() / "mine").mkdir()
    entries, num_bytes = cache.size()
    assert entries == 2
    assert num_bytes > 14
    assert cache.clear() == 2
    assert cache.size() == (0, 0)
    assert (cache.cache_folder() / "mine").is_dir()
    cache.fetch(KEY, Builder())


def test_clear_of_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.fetch(KEY, Builder())
    monkeypatch.setattr(cache, "_discard", _no_space)
    with pytest.raises(ArtifactError, match="clear: cache folder: expected a writable one, got "):
        cache.clear()


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    cache.fetch(OTHER_KEY, Builder())
    beside = _entry_folder().parent
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    work = f"tvm_equi-{cache.socket.gethostname()}"
    folders = {
        beside / f"{KEY}.0.tmp": False,
        beside / f"{OTHER_KEY}.0.tmp": False,
        beside / f"{OTHER_KEY}.1.tmp": True,
        tmp_path / "tmp" / f"{work}-{dead.pid}-a": False,
        tmp_path / "tmp" / f"{work}-{dead.pid}-b": True,
        tmp_path / "tmp" / f"{work}-{os.getpid()}-c": True,
        tmp_path / "tmp" / f"{work}x-{dead.pid}-d": True,
    }
    for folder, is_old in folders.items():
        folder.mkdir()
        (folder / "kernel.so").touch()
        if is_old:
            os.utime(folder, (0, 0))
    cache.fetch(KEY, Builder())
    assert [folder.exists() for folder in folders] == [False, True, False, True, False, True, True]


def test_threads_build_once() -> None:
    build = Builder()
    threads = [threading.Thread(target=cache.fetch, args=(KEY, build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert build.calls == 1


def test_forked_child_leaves_its_parents_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_write", _no_space)
    with pytest.warns(cache.CacheWarning, match="cannot be used"):
        entry = cache.fetch(KEY, Builder())

    def child() -> None:
        own = cache.fetch(KEY, Builder())
        same = own.library == entry.library
        cache._remove_in_owner(entry.library.parent, os.getppid())
        os._exit(1 if same or not own.library.exists() else 0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert entry.library.exists()


CHILD = """
import os, sys, time
from pathlib import Path
from tvm_equi.artifact.cache import fetch

shared, key, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])

def build(folder):
    (folder / "kernel.so").write_bytes(b"lib")
    with (shared / "builds").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(seconds)
    (folder / "kernel.so").write_bytes(b"library")
    return {"builder": os.getpid()}

(shared / f"ready-{os.getpid()}").touch()
while not (shared / "go").exists():
    time.sleep(0.001)
print(fetch(key, build).manifest["builder"])
"""


def _start(shared: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that waits for the file `go`, then fetches; its build takes that many seconds."""
    paths = [str(Path(tvm_equi.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TMPDIR": str(tempfile.gettempdir()),
    }
    command = [sys.executable, "-W", "error", "-c", CHILD, str(shared), KEY, str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_eight_processes_build_once(tmp_path: Path) -> None:
    processes = [_start(tmp_path, 0.3) for _ in range(8)]
    _wait_for(lambda: len(list(tmp_path.glob("ready-*"))) == 8)
    (tmp_path / "go").touch()
    builders = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 8
    assert builders == {(tmp_path / "builds").read_text()}


def test_process_killed_in_its_build_leaves_no_entry(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    process = _start(tmp_path, 600)
    _wait_for((tmp_path / "builds").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not _entry_folder().exists()
    start = time.monotonic()
    assert cache.fetch(KEY, Builder()).library.read_bytes() == b"library"
    assert time.monotonic() - start < 10
