"""Compiled libraries on disk, under the hash of what they were compiled from.

In: a key and a function that builds the library if nobody has. Out: the path of a library whose
checksum was just verified, and its manifest. Processes that want the same key at once build it
once; a process that is killed leaves nothing that counts as an entry. Where the cache folder cannot
be used (read-only, full, a lock that does not come free) the library is built for this process
alone, with a `CacheWarning`.

The folder is `$TVM_EQUI_CACHE_DIR`, or the platform's cache folder; an entry is `<key[:2]>/<key>/`
with `kernel.so` and `manifest.json`. A library is built in the system's temporary folder and copied
in when it is done, so that a full or read-only cache never fails a build.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import filelock
import platformdirs

from tvm_equi.errors import ArgumentError, ArtifactError

LIBRARY = "kernel.so"
MANIFEST = "manifest.json"
STALE_SECONDS = 3600.0
"""Age from which a temporary folder may count as left behind by a killed process."""


class CacheWarning(UserWarning):
    """The cache could not do its work; the library is right all the same."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A library and what is known of it.

    Args:
        library: path of the shared library.
        manifest: what `build` returned, and `library_sha256` and `library_size`.
    """

    library: Path
    manifest: Mapping[str, object]


_private_entries: dict[tuple[int, str], CacheEntry] = {}
_unusable_folders: set[Path] = set()


def cache_folder() -> Path:
    """The cache folder, which need not exist."""
    chosen = os.environ.get("TVM_EQUI_CACHE_DIR") or platformdirs.user_cache_dir("tvm_equi")
    return Path(chosen).expanduser().absolute()


def fetch(key: str, build: Callable[[Path], dict[str, object]]) -> CacheEntry:
    """The entry of a key, built if it is not there.

    Args:
        key: sha256, in hex, of everything that the library depends on.
        build: writes `kernel.so` into the folder it is given and returns fields for the manifest,
            in JSON's types.

    Returns:
        The entry; its library lasts until the cache is cleared or, where the cache folder cannot be
        used, as long as this process.

    Raises:
        ArgumentError: the key is not a sha256 in hex, or `$TVM_EQUI_LOCK_TIMEOUT` is no number of
            seconds.
        ArtifactError: `build` wrote no library or returned fields that JSON does not have, or there
            is no temporary folder to build in.
    """
    if not re.fullmatch("[0-9a-f]{64}", key):
        raise ArgumentError(f"fetch: key: expected 64 lower-case hex digits, got {key!r}")
    folder = cache_folder() / key[:2] / key
    entry = _read(folder)[0] or _private_entries.get((os.getpid(), key))
    if entry is not None and entry.library.exists():
        return entry
    with _locked(folder) as is_locked, ExitStack() as on_exit:
        if is_locked:
            entry, problem = _read(folder)
            if entry is not None:
                return entry
            if problem:
                _warn(f"cache entry {folder} is damaged and is built again: {problem}")
        work = _make_work_folder()
        on_exit.callback(shutil.rmtree, work, ignore_errors=True)
        manifest = _build(build, work)
        if is_locked and _publish(work, manifest, folder):
            return CacheEntry(folder / LIBRARY, MappingProxyType(manifest))
        on_exit.pop_all()
        atexit.register(_remove_in_owner, work, os.getpid())
        entry = CacheEntry(work / LIBRARY, MappingProxyType(manifest))
        _private_entries[os.getpid(), key] = entry
        return entry


def size() -> tuple[int, int]:
    """The number of entries in the cache, and the bytes of their files."""
    entries = _entry_folders()
    files = [file for entry in entries for file in entry.iterdir() if file.is_file()]
    return len(entries), sum(file.stat().st_size for file in files)


def clear() -> int:
    """Removes every entry; libraries that are loaded stay usable.

    Returns:
        The number of entries removed.

    Raises:
        ArtifactError: the cache folder cannot be written.
    """
    entries = _entry_folders()
    for entry in entries:
        try:
            _discard(entry)
        except OSError as error:
            raise ArtifactError(
                f"clear: cache folder: expected a writable one, got {cache_folder()} ({error})"
            ) from error
    return len(entries)


def _entry_folders() -> list[Path]:
    """The folders in the cache that are entries, by their names."""
    found = cache_folder().glob("[0-9a-f][0-9a-f]/*")
    return [path for path in found if re.fullmatch("[0-9a-f]{64}", path.name) and path.is_dir()]


def _read(folder: Path) -> tuple[CacheEntry | None, str]:
    """The entry if it is whole; if not, what is wrong with it, or "" if there is none."""
    try:
        text = (folder / MANIFEST).read_bytes()
        library = (folder / LIBRARY).read_bytes()
    except FileNotFoundError as error:
        return None, f"{Path(error.filename).name} is missing" if folder.is_dir() else ""
    except OSError as error:
        return None, str(error)
    try:
        manifest = json.loads(text)
    except ValueError as error:
        return None, f"{MANIFEST} is not JSON: {error}"
    if not isinstance(manifest, dict):
        return None, f"{MANIFEST}: expected an object, got {type(manifest).__name__}"
    if manifest.get("library_size") != len(library):
        wanted = manifest.get("library_size")
        return None, f"{LIBRARY}: expected {wanted} bytes, got {len(library)}"
    if manifest.get("library_sha256") != hashlib.sha256(library).hexdigest():
        return None, f"{LIBRARY}: the checksum is not that of {MANIFEST}"
    return CacheEntry(folder / LIBRARY, MappingProxyType(manifest)), ""


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Holds the lock of an entry; gives False, with a warning, where that cannot be done."""
    timeout = _lock_timeout()
    lock = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.with_suffix(".lock"))
        lock.acquire(timeout=timeout)
    except filelock.Timeout:
        lock = None
        _warn(f"the lock of {folder} did not come free in {timeout:g} s; built for this process")
    except (OSError, NotImplementedError) as error:
        lock = None
        _warn_unusable(error)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def _lock_timeout() -> float:
    """How long to wait for another process that builds the same entry, in seconds.

    Raises:
        ArgumentError: the environment variable is no number of seconds.
    """
    text = os.environ.get("TVM_EQUI_LOCK_TIMEOUT", "600")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ArgumentError(f"fetch: TVM_EQUI_LOCK_TIMEOUT: expected seconds >= 0, got {text!r}")
    return seconds


def _build(build: Callable[[Path], dict[str, object]], work: Path) -> dict[str, object]:
    """Runs `build` in an empty folder and returns the whole manifest.

    Raises:
        ArtifactError: there is no library after it, or its fields do not fit into the manifest.
    """
    fields = build(work)
    try:
        library = (work / LIBRARY).read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(f"fetch: build: expected it to write {work / LIBRARY}") from error
    own = {"library_sha256": hashlib.sha256(library).hexdigest(), "library_size": len(library)}
    if own.keys() & fields.keys():
        raise ArtifactError(f"fetch: build: expected fields other than {sorted(own)}, got {fields}")
    try:
        manifest: dict[str, object] = json.loads(json.dumps(fields, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"fetch: build: expected JSON fields, got {fields}") from error
    return manifest | own


def _publish(work: Path, manifest: dict[str, object], folder: Path) -> bool:
    """Puts a library into the cache in one step; False, with a warning, where that fails."""
    staging = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        _remove_stale(folder)
        staging.mkdir()
        _write(staging / LIBRARY, (work / LIBRARY).read_bytes())
        _write(staging / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
        _sync_folder(staging)
        if folder.exists():
            _discard(folder)
        staging.rename(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        _warn_unusable(error)
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    """Writes a file through to the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Writes the names in a folder through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(entry: Path) -> None:
    """Takes an entry away in one step, then deletes it."""
    trash = entry.with_name(f"{entry.name}.{uuid.uuid4().hex}.tmp")
    entry.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Removes what killed processes left of this entry, whose lock is held, and old leftovers."""
    for path in folder.parent.glob("*.tmp"):
        if path.name.startswith(folder.name) or _is_old(path):
            shutil.rmtree(path, ignore_errors=True)


def _make_work_folder() -> Path:
    """A new temporary folder that names its process, after removing those of dead ones.

    Raises:
        ArtifactError: the system has no temporary folder that can be written.
    """
    owner = f"tvm_equi-{socket.gethostname()}"
    try:
        for path in Path(tempfile.gettempdir()).glob(f"{owner}-*-*"):
            host, pid, _ = path.name.rsplit("-", 2)
            if host == owner and pid.isdecimal() and not _is_running(int(pid)) and _is_old(path):
                shutil.rmtree(path, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{owner}-{os.getpid()}-"))
    except OSError as error:
        raise ArtifactError(
            f"fetch: temporary folder: expected one that can be written, got {error}; set TMPDIR"
        ) from error


def _is_old(path: Path) -> bool:
    """Whether nothing was added to a folder for long; False if it is gone."""
    try:
        return time.time() - path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return False


def _is_running(pid: int) -> bool:
    """Whether a process of this number exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove_in_owner(folder: Path, pid: int) -> None:
    """Removes a folder, unless this is a forked child of the process that made it."""
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def _warn_unusable(error: Exception) -> None:
    """Says once per process that a cache folder cannot be used."""
    cache = cache_folder()
    if cache not in _unusable_folders:
        _unusable_folders.add(cache)
        _warn(
            f"cache folder {cache} cannot be used ({error}); libraries are built for this process "
            "only; set TVM_EQUI_CACHE_DIR to a folder that can be written"
        )


def _warn(message: str) -> None:
    """Warns on behalf of the caller of `fetch`."""
    warnings.warn(message, CacheWarning, stacklevel=4)
