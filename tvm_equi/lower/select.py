"""TensorIR for bundles of "select" steps: channels relabelled, repeated or summed.

In: a contraction of two operands and its steps. Out: scalar loops for one row. These steps serve
the modes over pairs of channels (uvu<v, u<vw) and uuw without weights; each touches an element
once per channel, so they are loops over channels with nothing to vectorise that matters.
"""

from __future__ import annotations

from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import PAIRS, Contraction, Path
from tvm_equi.algebra.kernel import Step
from tvm_equi.lower.storage import Storage
from tvm_equi.lower.vector import Expr, constant


def emit_select(
    form: Contraction, steps: list[Step], storage: Storage, lanes: int, r: Expr
) -> None:
    """TensorIR for row r of the tile: every target starts at zero, then each source is added."""
    for step in steps:
        source, target = step.operands[1 - step.output], step.target
        for path in form.paths:
            read, written = path.segments[1 - step.output], path.segments[step.output]
            storage.fill(target, written, r, lanes)
            _emit_path(form, path, step, storage, (source, read), (target, written), r)


def _emit_path(
    form: Contraction,
    path: Path,
    step: Step,
    storage: Storage,
    source: tuple[str, int],
    target: tuple[str, int],
    r: Expr,
) -> None:
    """Adds source[channel] to target[channel] for all channels and components."""
    dim = form.dims(path)[step.output]
    from_pattern, to_pattern = path.channels[1 - step.output], path.channels[step.output]

    def add(u: Expr, v: Expr, pair: Expr) -> None:
        index = {"u": u, "v": v, PAIRS: pair, "": 0}
        for i in range(dim):
            value = storage.scalar(*source, r, index[from_pattern], i)
            if path.scale != 1.0:
                value = value * constant(storage.dtype, path.scale)
            old = storage.scalar(*target, r, index[to_pattern], i)
            storage.store_scalar(*target, r, index[to_pattern], i, old + value)

    n = path.extent("u")
    if PAIRS not in path.channels:
        with T.serial(0, n) as u:
            add(u, u, u)
        return
    with T.serial(0, n - 1) as u, T.serial(0, n - 1 - u) as rest:
        add(u, u + 1 + rest, u * n - u * (u + 1) // 2 + rest)
