"""A torch model on compiled kernels: e3nn's modules swapped in place, convolutions fused.

In: a model of torch that holds e3nn's modules, or one of a code base with an adapter here. Out: the
same object, with the same parameters and state dict, that computes the same, and a report. A module
that nothing here knows stays as it is. Refused: a module that computes something else than its
original, which leaves the model as it was.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from rich.console import Console

from tvm_equi.errors import ArgumentTypeError
from tvm_equi.models.change import Change, Rule
from tvm_equi.models.compare import (
    compare_convolution,
    compare_modules,
    has_known_dtypes,
    known_example,
    tensor_like,
)
from tvm_equi.models.fuse import fuse as fuse_forward
from tvm_equi.models.report import NOT_COMPARED, Entry, Report
from tvm_equi.nn.tensor_product import TensorProduct

Model = TypeVar("Model", bound=torch.nn.Module)

ADAPTERS: dict[str, str] = {
    "mace": "tvm_equi.models.mace",
    "nequip": "tvm_equi.models.nequip",
    "allegro": "tvm_equi.models.allegro",
    "sevenn": "tvm_equi.models.sevennet",
    "e3nn": "tvm_equi.models.e3nn",
}
"""By the package whose modules it knows, where an adapter is: its `RULES`, in order. It is imported
where that package is already, since a model of it cannot exist before."""


def accelerate(
    model: Model, *, check: bool = True, fuse: bool = True, quiet: bool = False
) -> Model:
    """The model with its equivariant modules on compiled kernels.

    Modules are swapped in place and share the old ones' parameters, so that optimizers, state dicts
    and hooks stay valid. The report stays at the model, as `model.tvm_equi_report`.

    Args:
        model: any torch model that calls e3nn's modules, in float32 or float64.
        check: whether each new module is compared once with its original, values and first
            derivatives, on random data.
        fuse: whether gather, tensor product and sum over receivers become one kernel, where a
            module's forward has them.
        quiet: whether the report is not printed.

    Returns:
        The same object; another where the model itself is one of e3nn's modules.

    Raises:
        ArgumentTypeError: the model is no torch module.
        ArtifactError: a module's result differs from that of its original, or its kernel cannot be
            compiled; the model is as it was.

    Example:
        >>> from e3nn import o3
        >>> model = torch.nn.Sequential(o3.Linear("4x0e", "2x0e"), torch.nn.Tanh())
        >>> accelerate(model, quiet=True).tvm_equi_report.summary[:42]
        'tvm_equi.accelerate: 1 swapped, 0 fused, 0'
    """
    if not isinstance(model, torch.nn.Module):
        raise ArgumentTypeError(
            f"accelerate: model: expected a torch.nn.Module, got {type(model).__name__}"
        )
    work = _Work(tuple(rules()), tensor_like(model, torch.empty(0)), check)
    is_finished = False
    try:
        new = work.swap("", model, lambda module: None)
        if fuse:
            work.fuse(new)
        work.compare()
        is_finished = True
    finally:
        if not is_finished:
            work.undo()
    report = Report(tuple(work.entries.values()), work.error if check else None)
    new.tvm_equi_report = report  # type: ignore[assignment]
    if not quiet:
        Console().print(report.table() if report.entries else report.summary)
    return new  # type: ignore[return-value]


def rules() -> Iterator[Rule]:
    """The rules of every adapter whose package this process has imported."""
    for package, name in ADAPTERS.items():
        if package in sys.modules and importlib.util.find_spec(name) is not None:
            yield from importlib.import_module(name).RULES


class _Work:
    """One model, on its way.

    Args:
        rules: to ask, in order; the first that knows a module decides.
        like: has the dtype and device of modules without tensors.
        check: whether new modules are compared with the old ones.
    """

    def __init__(self, rules: tuple[Rule, ...], like: torch.Tensor, check: bool) -> None:
        self.entries: dict[str, Entry] = {}
        self.error = 0.0
        self._rules, self._like, self._check = rules, like, check
        self._changes: dict[int, tuple[str, torch.nn.Module, Change]] = {}
        self._undo: list[Callable[[], object]] = []
        self._in_convolutions: set[int] = set()

    def swap(
        self, path: str, module: torch.nn.Module, install: Callable[[torch.nn.Module], None]
    ) -> torch.nn.Module:
        """Swaps a module, or what is inside it.

        Args:
            path: of the module.
            module: of the model.
            install: puts another in its place.
        """
        known = self._changes.get(id(module))
        if known is not None:  # the same object at a second place
            install(known[2].module)
            return known[2].module
        change = self._decide(module)
        new, is_done = module, False
        if change is not None:
            new, is_done = change.module, change.is_done
            self.entries[path] = Entry(path, _class(module), change.status, change.note)
            if new is not module:
                install(new)
        # The old module is kept, so that its id stays its own.
        self._changes[id(module)] = (path, module, change or Change(module, "left", ""))
        self._changes.setdefault(id(new), self._changes[id(module)])
        if not is_done:
            for name, child in list(new._modules.items()):
                if child is not None:
                    inner = f"{path}.{name}" if path else name
                    self.swap(inner, child, self._installer(new, name, child))
        return new

    def _decide(self, module: torch.nn.Module) -> Change | None:
        for rule in self._rules:
            change = rule(module)
            if change is not None:
                return change
        return None

    def _installer(
        self, parent: torch.nn.Module, name: str, old: torch.nn.Module
    ) -> Callable[[torch.nn.Module], None]:
        """Puts a module in the place of a child, and notes how to undo that."""

        def install(new: torch.nn.Module) -> None:
            if new is not old:
                parent._modules[name] = new
                self._undo.append(lambda: parent._modules.update({name: old}))

        return install

    def fuse(self, model: torch.nn.Module) -> None:
        """Fuses the convolutions of every forward in the model.

        Args:
            model: whose modules were swapped.
        """
        for path, module in list(model.named_modules()):
            if path in self.entries:  # a rule has decided about it
                continue
            fusion = fuse_forward(module)
            if fusion.reason:
                note = f"forward not fused: {fusion.reason}"
                self.entries[f"{path}()"] = Entry(path, _class(module), "left", note)
            if fusion.forward is None:
                continue
            if self._check:
                for name, product in fusion.products.items():
                    _, old, _ = self._changes.get(id(product), ("", product, None))
                    inner = f"{path}.{name}" if path else name
                    like = tensor_like(old, self._like)
                    error = compare_convolution(inner, product, old, like)
                    self.error = max(self.error, error)
            module.forward = fusion.forward
            self._undo.append(partial(vars(module).pop, "forward"))
            self._note_fused(path, fusion.products)

    def _note_fused(self, path: str, products: Mapping[str, TensorProduct]) -> None:
        """Enters products that are inside convolutions now."""
        where = f"the forward of {path}" if path else "the model's forward"
        for name, product in products.items():
            self._in_convolutions.add(id(product))
            inner = f"{path}.{name}" if path else name
            own = self._changes.get(id(product), (inner, product, None))[0]
            before = self.entries.get(own)
            kind = before.kind if before is not None else _class(product)
            note = f"with the gather and sum in {where}"
            self.entries[own] = Entry(own, kind, "fused", note)

    def compare(self) -> None:
        """Compares every swapped module that is not inside a convolution with the old one.

        Raises:
            ArtifactError: one differs.
        """
        seen: set[str] = set()
        for key_of, (path, old, change) in list(self._changes.items()):
            new = change.module
            is_swapped = new is not old and key_of == id(old)  # new modules are entered too
            if not (self._check and is_swapped) or id(new) in self._in_convolutions:
                continue
            like = tensor_like(old, self._like)
            example = change.example or known_example(new, like)
            example = example if has_known_dtypes(old) else None
            if example is None:
                entry = self.entries[path]
                note = f"{entry.note}; {NOT_COMPARED}".removeprefix("; ")
                self.entries[path] = replace(entry, note=note)
                continue
            key = f"{like.dtype} {type(new).__name__} {new!r} {getattr(new, 'instructions', '')}"
            if change.example is None and key in seen:
                continue
            seen.add(key)
            self.error = max(self.error, compare_modules(path, new, old, example, like))

    def undo(self) -> None:
        """Makes the model what it was."""
        for step in reversed(self._undo):
            step()


def _class(module: torch.nn.Module) -> str:
    return type(module).__name__
