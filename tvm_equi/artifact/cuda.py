"""Placeholder until the engineer of this module writes it: replace the whole file."""

from __future__ import annotations

from collections.abc import Sequence


def fatbin(source: str, architectures: Sequence[str]) -> bytes:
    """Placeholder."""
    raise NotImplementedError


def digest() -> str:
    """Placeholder."""
    return "none"


def preload_runtime() -> None:
    """Placeholder."""
