"""A program in a virtual machine of TVM's runtime: one per thread, since calls keep state in it.

In: what makes machines, and a program's parameters. Out: the program's results for one thread.
Intermediate values live in a pool of the runtime that all machines share. It keeps memory of every
size that was ever used, though programs round sizes up to few (`relax/buckets.py`), so that it is
emptied when sizes that differ by more come again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tvm_equi.deploy.manifest import Value
from tvm_equi.deploy.runtime import function_table, load_runtime
from tvm_equi.deploy.tensors import Array, Staging
from tvm_equi.errors import ArtifactError, IndexRangeError

FUNCTION = "main"
"""Of a program."""

_CPU, _FIRST, _POOLED = 1, 0, 2
"""DLPack's number of the device, which one, and TVM's number of its allocator."""

MAX_SIZES = 3
"""Sets of rounded sizes whose memory the pool keeps."""


class Machine:
    """Runs a program; for one thread.

    Args:
        where: names the program in errors.
        make: a virtual machine with the program in it.
        parameters: tensors that are passed first.
        num_inputs: arrays that are passed then.
        outputs: of the program.

    Raises:
        ArtifactError: the program calls what is not registered, or has no function `main`.
    """

    def __init__(
        self,
        where: str,
        make: Callable[[], Any],
        parameters: Sequence[Any],
        num_inputs: int,
        outputs: Sequence[Value],
    ) -> None:
        try:
            with function_table():
                machine = make()
                machine["vm_initialization"](_CPU, _FIRST, _POOLED)
                self._function = machine[FUNCTION]
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{where}: expected a program to start, got: {error}") from error
        self.where = where
        self._parameters = tuple(parameters)
        self._fixed = frozenset(tensor.data_ptr() for tensor in parameters)
        self._staging = tuple(Staging() for _ in range(num_inputs))
        self._outputs = tuple(outputs)
        self._empty_pool = load_runtime().get_global_func("vm.builtin.memory_manager.clear")
        self._last: tuple[int, ...] | None = None
        self._sizes: set[tuple[int, ...]] = set()

    def run(self, inputs: Sequence[Array], sizes: tuple[int, ...]) -> list[Array]:
        """The outputs, in memory of their own.

        Args:
            inputs: checked.
            sizes: that differ from call to call.

        Raises:
            IndexRangeError: an index names a row that does not exist.
            ArtifactError: the program fails, or gives what its manifest does not say.
        """
        if sizes != self._last:
            self._note(sizes)
        try:
            staged = zip(self._staging, inputs, strict=True)
            tensors = [stage.tensor(value) for stage, value in staged]
            results = list(self._function(*self._parameters, *tensors))
        except IndexError as error:  # of `index_error`
            raise IndexRangeError(f"{self.where}: {error}") from error
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise ArtifactError(
                f"{self.where}: expected the program to run, got: {error}"
            ) from error
        if self._last is None:
            self._check(results)
        self._last = sizes
        taken = {tensor.data_ptr() for tensor in tensors}
        found = []
        for result in results:
            start, array = result.data_ptr(), np.from_dlpack(result)
            is_shared = start in taken or start in self._fixed  # an input, a parameter, or twice
            if is_shared or not array.flags.writeable:  # numpy before 2 lets nobody write
                array = array.copy()
            taken.add(start)
            found.append(array)
        return found

    def _note(self, sizes: tuple[int, ...]) -> None:
        """Remembers sizes; empties the pool before it would keep memory for too many."""
        rounded = tuple(rounded_up(size) for size in sizes)
        if rounded not in self._sizes and len(self._sizes) >= MAX_SIZES:
            self._empty_pool()
            self._sizes.clear()
        self._sizes.add(rounded)

    def _check(self, results: Sequence[Any]) -> None:
        """Compares results with the manifest: number, dtypes and numbers of axes.

        Raises:
            ArtifactError: they differ.
        """
        got = [(str(result.dtype), len(result.shape)) for result in results]
        wanted = [(value.dtype, len(value.shape)) for value in self._outputs]
        if got != wanted:
            raise ArtifactError(
                f"{self.where}: outputs: expected {wanted}, as (dtype, axes), got {got}; "
                "the manifest does not belong to the program"
            )


def rounded_up(size: int) -> int:
    """A size, or the next one above that has at most 3 significant bits, as programs round memory.

    Args:
        size: 0 or more.

    Example:
        >>> [rounded_up(size) for size in (5, 9, 1000, 1024, 1025)]
        [5, 10, 1024, 1024, 1280]
    """
    step = max(size.bit_length() - 3, 0)
    return -(-size >> step) << step
