"""Memory of results is used again, and only when nothing holds it."""

import threading

import pytest
import torch

from tvm_equi.errors import ArgumentError
from tvm_equi.runtime import pool
from tvm_equi.runtime.pool import LIMIT_VARIABLE, MIN_BYTES, Pool

SHAPE = (2, MIN_BYTES // 8)


def test_freed_memory_comes_back() -> None:
    some = Pool(1 << 30)
    first = some.empty(SHAPE, torch.float32)
    address = first.data_ptr()
    assert first.is_contiguous()
    assert first.shape == SHAPE
    del first
    assert some.empty(SHAPE, torch.float32).data_ptr() == address


def test_memory_in_use_stays_alone() -> None:
    some = Pool(1 << 30)
    first = some.empty(SHAPE, torch.float32)
    view = first[1:].fill_(7.0)
    del first
    some.empty(SHAPE, torch.float32).fill_(1.0)
    assert view.eq(7.0).all()


def test_memory_saved_for_backward_stays_alone() -> None:
    some = Pool(1 << 30)
    leaf = torch.ones(SHAPE, requires_grad=True)
    product = some.empty(SHAPE, torch.float32).fill_(3.0) * leaf
    some.empty(SHAPE, torch.float32).fill_(1.0)
    product.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.eq(3.0).all()


def test_what_lies_idle_is_bounded() -> None:
    some = Pool(3 * MIN_BYTES)
    for extra in range(8):
        some.empty((MIN_BYTES + 64 * extra,), torch.uint8)
    idle = sum(s.nbytes() for s in some._storages if pool._is_idle(s))
    assert idle <= 4 * MIN_BYTES + 8 * 64
    some.clear()
    assert some._storages == []


def test_small_results_and_no_limit_bypass_the_pool() -> None:
    some = Pool(1 << 30)
    some.empty((4,), torch.float32)
    assert some._storages == []
    off = Pool(0)
    off.empty(SHAPE, torch.float32)
    assert off._storages == []


def test_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "123")
    assert pool._limit() == 123
    monkeypatch.setenv(LIMIT_VARIABLE, "much")
    with pytest.raises(ArgumentError, match=f"{LIMIT_VARIABLE}: expected a number.*'much'"):
        pool._limit()


def test_threads_never_share_memory() -> None:
    some = Pool(1 << 30)
    wrong: list[int] = []

    def work(value: int) -> None:
        for _ in range(30):
            mine = some.empty(SHAPE, torch.float32).fill_(float(value))
            if not bool(mine.eq(float(value)).all()):
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
