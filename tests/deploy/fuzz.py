"""Wrong model files without end: `python -m tests.deploy.fuzz --seconds 3600`.

In: a source of random choices. Out: bytes of a file that is somehow wrong, and a verdict on what
the loader makes of them. The loader may refuse them as an `ArtifactError`, or load a file that is
right; any other exception, a slow answer or much memory is a finding. Most mutants have right
checksums, so that the checks behind these are reached.
"""

import argparse
import collections
import copy
import hashlib
import json
import random
import resource
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.deploy.model_files import SECTIONS, Change, example, rewritten
from tvm_equi.deploy.container import Container, decode, encode
from tvm_equi.deploy.header import HEADER
from tvm_equi.deploy.targets import best_cpu_target
from tvm_equi.errors import ArtifactError

SECONDS = 2.0
"""Of the processor, in which a file of 4 kB must be read."""

MEMORY = 1 << 30
"""Address space that the hour's process gets beside what it starts with."""

GOOD = example()
PARAMETERS = "parameters.safetensors"

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 8, 63, 64, 65, 127, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, 2**32),
    *(2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -(2**63), 1.5, 1e300),
)
TEXTS = (
    *("", "/", ".", "..", "../x", "a/../b", "/etc/passwd", "k/f2.so", "k/f3.so", "graph.json"),
    *(
        "x86-64-v2",
        "x86-64-v3",
        "sm_80,sm_90",
        "host",
        "run",
        "convolve",
        "row",
        "shared",
        "sender",
    ),
    *("receiver", "float32", "bfloat16", "F32", "BOOL", "a" * 64, "b" * 64, "main", "edges", "\0"),
    *("\u0661", "\ud800", "é", "x" * 5000, "parameters.safetensors", "scale", "%s%n", "NaN"),
)
VALUES = (*NUMBERS, *TEXTS, None, True, False, [], {}, [[]], [None], {"": 0})


def mutant(rng: random.Random) -> bytes:
    """A wrong file, or by chance a right one.

    Args:
        rng: chooses.
    """
    make = rng.choice((raw, signed, fields, fields, fields, text, tensors, tensors, sections))
    with deep():
        try:
            return make(rng)
        except RecursionError:  # some versions of Python write no lists of such depth
            return raw(rng)


@contextmanager
def deep() -> Iterator[None]:
    """Lists may be written that are too deep to be read."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def raw(rng: random.Random) -> bytes:
    """Bytes that changed after the file was written."""
    return _scrambled(rng, GOOD)


def signed(rng: random.Random) -> bytes:
    """Bytes that changed, with a header that vouches for them."""
    data = _scrambled(rng, GOOD)
    if len(data) < HEADER or rng.random() < 0.1:
        return data
    size, length = len(data), struct.unpack_from("<Q", data, 24)[0]
    if rng.random() < 0.2:
        length = rng.choice((0, 1, len(data) - HEADER, *(n for n in NUMBERS if _is_size(n))))
    if rng.random() < 0.1:
        size = rng.choice([n for n in NUMBERS if _is_size(n)])
    return _headed(data[:16], size, length, data[HEADER:])


def fields(rng: random.Random) -> bytes:
    """A manifest with other fields, and checksums, offsets and sizes that are right."""
    seed, count = rng.getrandbits(32), rng.choice((1, 1, 1, 2, 3, 8))

    def change(data: dict[str, Any]) -> None:  # is called until sizes settle
        again = random.Random(seed)
        for _ in range(count):
            _change(again, data)

    return built(change, SECTIONS)


def text(rng: random.Random) -> bytes:
    """A manifest of other text, with a header that vouches for it."""
    length = struct.unpack_from("<Q", GOOD, 24)[0]
    given = GOOD[HEADER : HEADER + length]
    if rng.random() < 0.5:
        words = ("{", "}", "[", "]", ",", ":", '"', "\\", "NaN", "1e9", "-0", "01", " ", "\\ud800")
        place = rng.randrange(len(given))
        given = (
            given[:place] + rng.choice(words).encode() * rng.choice((1, 1, 2, 999)) + given[place:]
        )
    else:
        given = _scrambled(rng, given)
    body = GOOD[HEADER + length :]
    return _headed(GOOD[:16], HEADER + len(given) + len(body), len(given), given + body)


def tensors(rng: random.Random) -> bytes:
    """Parameters that are no right file of tensors, in a file that vouches for them."""
    return rewritten(sections=SECTIONS | {PARAMETERS: wrong_tensors(rng)})


def wrong_tensors(rng: random.Random) -> bytes:
    """A file of tensors that is somehow wrong.

    Args:
        rng: chooses.
    """
    data = SECTIONS[PARAMETERS]
    if rng.random() < 0.3:
        return _scrambled(rng, data)
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    with deep():
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change(rng, header)
        new = json.dumps(header).encode("utf-8", "surrogatepass")
    size = rng.choice(NUMBERS[:-2]) if rng.random() < 0.1 else len(new)
    return struct.pack("<Q", int(size) % 2**64) + new + data[8 + length :]


def sections(rng: random.Random) -> bytes:
    """Other sections: some are missing, more, or of another size."""
    given = dict(SECTIONS)
    for _ in range(rng.choice((1, 2, 3))):
        name = rng.choice(sorted(given)) if given else "a"
        match rng.randrange(4):
            case 0:
                given.pop(name, None)
            case 1:
                given[name] = b"\xff" * rng.randrange(200)
            case 2:
                given[f"{name}.{rng.randrange(9)}"] = b"more"
            case _:
                given[rng.choice(TEXTS)] = b""
    return built(lambda data: None, given)


def built(change: Change, given: dict[str, bytes]) -> bytes:
    """The file with other fields or sections, or as it is where JSON has no text for them.

    Args:
        change: of the manifest's fields.
        given: sections.
    """
    try:
        return rewritten(change, given)
    except (ValueError, TypeError):
        return rewritten()


def _is_size(number: Any) -> bool:
    return isinstance(number, int) and 0 <= number < 2**64


def _headed(start: bytes, size: int, length: int, rest: bytes) -> bytes:
    """A file whose header's checksums are right where there is something to sum."""
    digest = hashlib.sha256(rest[:length] if length <= len(rest) else b"").digest()
    facts = start + struct.pack("<QQ", size, length) + digest
    return facts + hashlib.sha256(facts).digest() + rest


def _scrambled(rng: random.Random, data: bytes) -> bytes:
    """Bytes with some flipped, cut, moved or put in."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not found:
            break
        place = rng.randrange(len(found))
        other = rng.randrange(len(found))
        match rng.randrange(7):
            case 0:
                found[place] ^= 1 << rng.randrange(8)
            case 1:
                found[place] = rng.randrange(256)
            case 2:
                del found[place:]
            case 3:
                del found[place : place + rng.randrange(1, 80)]
            case 4:
                found[place:place] = rng.randbytes(rng.randrange(1, 80))
            case 5:
                found[place : place + 8] = struct.pack("<Q", rng.choice(NUMBERS[:-2]) % 2**64)
            case _:
                found[place:place] = found[other : other + rng.randrange(1, 80)]
    return bytes(found)


def _change(rng: random.Random, data: Any) -> None:
    """Changes one place of some JSON data."""
    places = _places(data)
    if not places:
        return
    holder, key = rng.choice(places)
    match rng.randrange(6):
        case 0:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        case 1:
            del holder[key]
        case 2:
            donor, name = rng.choice(places)
            holder[key] = copy.deepcopy(donor[name])
        case 3 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 3:
            holder[rng.choice(TEXTS)] = copy.deepcopy(holder[key])
        case 4 if isinstance(holder[key], int):
            holder[key] += rng.choice((1, -1, 64, -64, 2**32, 2**63))
        case 4 if isinstance(holder[key], str):
            holder[key] = holder[key][: rng.randrange(9)] + rng.choice(TEXTS)
        case _:
            for _ in range(rng.choice((1, 5, rng.randrange(1100)))):
                holder[key] = [holder[key]]


def _places(data: Any) -> list[tuple[Any, Any]]:
    """(list or object, its index or key) of every value within some data."""
    found, waiting = [], [data]
    while waiting:
        holder = waiting.pop()
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def verdict(data: bytes) -> str:
    """What the loader makes of a file: why it was refused, or "loaded".

    Args:
        data: the file.

    Raises:
        AssertionError: the loader took long, or loaded what is not right.
    """
    before = time.process_time()
    try:
        found = decode("file", data)
    except ArtifactError as error:
        outcome = str(error)
    else:
        _check(found, data)
        outcome = "loaded"
    assert len(outcome) < 2000, "a long message"
    assert time.process_time() - before < SECONDS, "slow"
    return outcome


def _check(found: Container, data: bytes) -> None:
    """Proves that a loaded file is right: nothing of it is unaccounted for."""
    parts = {name: bytes(found.section(name)) for name in found.sections}
    for name, section in found.sections.items():
        assert hashlib.sha256(parts[name]).hexdigest() == section.sha256
        assert ".." not in name.split("/")
        assert not name.startswith("/")
    mentioned = {found.manifest.parameters, found.manifest.graph} - {None}
    mentioned |= {name for kernel in found.manifest.kernels for name in kernel.libraries.values()}
    for program in found.manifest.programs:
        mentioned |= set(program.libraries.values())
        mentioned |= {name for names in program.kernels.values() for name in names}
        assert set(program.parameters) <= set(found.parameters())
    assert mentioned <= set(parts)
    for tensor in found.parameters().values():
        assert tensor.array.nbytes <= len(data)
        np.asarray(tensor.array).sum()
    again = decode("again", encode(found.manifest, parts))
    assert again.manifest == found.manifest
    try:
        best_cpu_target("file", found.manifest.targets)
    except ArtifactError:
        return


def run(seconds: float, seed: int, folder: Path | None = None) -> collections.Counter[str]:
    """Reads mutants for a while; counts verdicts by their kind.

    Args:
        seconds: to go on for.
        seed: of the first mutant; each has the next.
        folder: where files of findings go; None to raise at the first.

    Raises:
        AssertionError: a finding; names its seed.
    """
    end = time.monotonic() + seconds
    seen: collections.Counter[str] = collections.Counter()
    while time.monotonic() < end:
        data = b""
        try:
            data = mutant(random.Random(seed))
            outcome = verdict(data)
        except Exception as error:
            if folder is None:
                raise AssertionError(f"mutant({seed}): {error!r}") from error
            (folder / f"{seed}.tvmeq").write_bytes(data)
            (folder / f"{seed}.txt").write_text(traceback.format_exc())
            outcome = f"FINDING {type(error).__name__}"
        seen[_kind(outcome)] += 1
        seed += 1
    return seen


def _kind(outcome: str) -> str:
    """A verdict without the values in it."""
    words = outcome.removeprefix("file: ").split(", got")[0].split()
    return " ".join(word for word in words if not any(mark in word for mark in "[0123456789'/"))[
        :70
    ]


def main() -> None:
    """Runs for as long as it is told, in little memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1000)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    options.findings.mkdir(exist_ok=True)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    seen = run(options.seconds, options.seed, options.findings)
    for kind, count in seen.most_common():
        sys.stdout.write(f"{count:>9,} {kind}\n")
    findings = sum(count for kind, count in seen.items() if kind.startswith("FINDING"))
    sys.stdout.write(
        f"{seen.total():,} files from seed {options.seed}, {len(seen)} kinds of verdict, "
        f"{seen['loaded']:,} loaded, {findings} findings\n"
    )
    sys.exit(findings > 0)


if __name__ == "__main__":
    main()
