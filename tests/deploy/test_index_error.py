"""Programs refuse indices in words."""

import pytest

from tvm_equi.deploy.index_error import INDEX_ERROR, register_index_error
from tvm_equi.deploy.runtime import load_runtime


def test_it_is_registered_once_and_raises() -> None:
    for _ in range(2):
        register_index_error()
    refuse = load_runtime().get_global_func(INDEX_ERROR)
    with pytest.raises(IndexError, match=r"senders: expected indices from 0 to 4, got 7"):
        refuse("senders", 5, 7)
