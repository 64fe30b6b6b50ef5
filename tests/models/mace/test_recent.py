"""Values are made once for a tensor that lives and is unchanged."""

import gc

import torch

from tvm_equi.models.mace.recent import Recent


def test_a_value_is_made_once() -> None:
    known: Recent[int] = Recent()
    tensor, made = torch.zeros(2), []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [known.get(tensor, None, make) for _ in range(3)] == [1, 1, 1]
    assert known.get(tensor, "other key", make) == 2
    assert known.get(tensor.clone(), None, make) == 3


def test_a_change_in_place_makes_it_anew() -> None:
    known: Recent[float] = Recent()
    tensor = torch.zeros(2)
    assert known.get(tensor, None, lambda: float(tensor.sum())) == 0
    tensor[0] = 2
    assert known.get(tensor, None, lambda: float(tensor.sum())) == 2


def test_values_of_tensors_that_are_gone_are_dropped() -> None:
    known: Recent[int] = Recent()
    known.get(torch.zeros(2), None, lambda: 1)
    gc.collect()
    known.get(torch.zeros(2), None, lambda: 2)
    assert len(known) == 1


def test_few_are_kept() -> None:
    known: Recent[int] = Recent(size=2)
    tensors = [torch.zeros(1) for _ in range(3)]
    for number, tensor in enumerate(tensors):
        known.get(tensor, None, lambda number=number: number)
    assert len(known) == 2
    assert known.get(tensors[0], None, lambda: -1) == -1


def test_tensors_of_inference_mode_have_no_version() -> None:
    known: Recent[int] = Recent()
    with torch.inference_mode():
        tensor = torch.zeros(2)
    assert known.get(tensor, None, lambda: 1) == 1
    assert known.get(tensor, None, lambda: 2) == 2
