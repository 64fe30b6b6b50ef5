"""Devices: refused mixtures, code that runs on a GPU, index checks."""

import pytest
import torch

from tvm_equi.errors import ArgumentError
from tvm_equi.runtime import devices


def test_tensors_on_two_devices_are_refused() -> None:
    here, there = torch.zeros(2), torch.zeros(2, device="meta")
    devices.check_devices("f: inputs", [here, here])
    message = r"^f: inputs\[1\]: expected a tensor on cpu like f: inputs\[0\], got one on meta$"
    with pytest.raises(ArgumentError, match=message):
        devices.check_devices("f: inputs", [here, there])


@pytest.mark.parametrize(
    ("architectures", "device", "runs"),
    [
        (("sm_80", "sm_90"), "sm_80", True),
        (("sm_80", "sm_90"), "sm_86", True),  # machine code of the same major version
        (("sm_80", "sm_90"), "sm_100", True),  # PTX of the last
        (("sm_80", "sm_90"), "sm_75", False),
        (("sm_86",), "sm_80", False),
        (("sm_90",), "sm_89", False),
        (("sm_90",), "sm_120", True),
    ],
)
def test_code_runs_on_later_gpus(architectures: tuple[str, ...], device: str, runs: bool) -> None:
    assert devices.runs_on(architectures, device) is runs


def test_no_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ArgumentError, match=r"target: cuda: expected a GPU in this machine, got"):
        devices.local_architectures()


def test_gpus_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(devices, "architecture", lambda d: ("sm_90", "sm_80", "sm_90")[d.index])
    assert devices.local_architectures() == ("sm_80", "sm_90")


def test_indices_are_checked_on_gpus_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    index = torch.zeros(2, dtype=torch.int64)
    monkeypatch.delenv(devices.CHECK_VARIABLE, raising=False)
    assert devices.checks_indices(index)
    monkeypatch.setattr(devices, "is_on_gpu", lambda tensor: True)
    assert not devices.checks_indices(index)
    monkeypatch.setenv(devices.CHECK_VARIABLE, "1")
    assert devices.checks_indices(index)


def test_nothing_to_switch_for_cpu_tensors() -> None:
    with devices.on_device(torch.zeros(2)) as entered:
        assert entered is None
