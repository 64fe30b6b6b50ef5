"""What C++ makes of wrong model files is what Python makes of them."""

import random
import subprocess
from pathlib import Path

import pytest

from tests.deploy import fuzz
from tests.deploy_runtimes.cpp_build import build, shared_folder

pytestmark = pytest.mark.deploy

FILES = 3000


def test_both_readers_take_the_same_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = shared_folder(tmp_path_factory) / "cpp_tests"
    built = build(Path(__file__).parent / "cpp", folder)
    folder = tmp_path_factory.mktemp("mutants")
    first = random.randrange(10**9)
    expected, names = [], []
    for seed in range(first, first + FILES):
        data = fuzz.mutant(random.Random(seed))
        expected.append(fuzz.verdict(data))
        names.append(folder / str(seed))
        names[-1].write_bytes(data)
    done = subprocess.run(
        [built / "reader"],
        input="".join(f"{name}\n" for name in names),
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    assert len(found) == FILES
    for name, python, cpp in zip(names, expected, found, strict=True):
        assert (python == "loaded") == (cpp == "ok"), f"mutant({name.name}): {python}; C++: {cpp}"
    assert 50 < found.count("ok") < FILES - 50
