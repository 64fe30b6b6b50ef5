"""What is found in the code of a forward."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tvm_equi.models.scan import is_scatter, scan, watched_names


def helper(x: torch.Tensor) -> torch.Tensor:
    return x.index_add(0, x, x) if isinstance(x, torch.Tensor) else x


class Base(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor, self.seen, self.sizes = 2.0, 0, [1]


class Plain(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.scatter_add(0, x, x) * self.factor if self.training else self.other(x)

    def other(self, x: torch.Tensor) -> torch.Tensor:
        return x + len(self.sizes)


class Remembers(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = 1
        return x


class Collects(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(x)
        return x


class Stores(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes[0] = x
        return x


class Asks(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return helper(x)


class AsksInside(Base):
    def forward(self, xs: Any) -> Any:
        return [x for x in xs if hasattr(x, "shape")]


class AsksInMethod(Base):
    def forward(self, x: Any) -> Any:
        return self.check(x)

    def check(self, x: Any) -> Any:
        return type(x)


class Guards(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return x


class AsksTorch(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if torch.is_grad_enabled() else -x


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return function(*args)

    return call


class Decorated(Base):
    @wrapped
    def forward(self, x: Any) -> Any:
        return isinstance(x, int)


def test_names_and_attributes() -> None:
    found = scan(Plain())
    assert found.reason == ""
    assert found.sums_rows
    assert {"factor", "training", "sizes"} <= found.names
    assert watched_names(Plain(), found.names) == ("factor", "training")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Remembers, "forward sets an attribute, seen"),
        (Collects, "forward may change sizes"),
        (Stores, "forward may change sizes"),
        (Asks, "helper calls isinstance, whose result a trace would freeze"),
        (AsksInside, "calls hasattr, whose result a trace would freeze"),
        (AsksInMethod, "check calls type, whose result a trace would freeze"),
        (Guards, "forward has a try or with block, or sets a global"),
        (AsksTorch, "forward asks is_grad_enabled, whose answer a trace would freeze"),
        (Decorated, "forward calls isinstance, whose result a trace would freeze"),
    ],
)
def test_reasons(kind: type[Base], reason: str) -> None:
    assert reason in scan(kind()).reason


def test_sums_are_seen_in_functions() -> None:
    assert scan(Asks()).sums_rows
    assert not scan(Remembers()).sums_rows


def test_known_scatter_functions() -> None:
    def scatter() -> None: ...

    assert not is_scatter(scatter)
    scatter.__module__ = "torch_scatter.scatter"
    assert is_scatter(scatter)
    assert not is_scatter(torch.zeros)
