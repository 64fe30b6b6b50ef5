"""The launches that a kernel becomes on a GPU; no TVM in it.

In: a kernel and the decisions of a schedule. Out: launches in order, each of which a device runs to
its end before the next. A *walk* takes rows or edges one after another, a thread per channel; a
*product* multiplies rows by a matrix that they share. Temporaries lie in memory between launches.

Letters: of a path's channel letters one runs over the threads of a row, the *lane* letter, which is
chosen so that a thread owns every element that it adds to; another of more than one value is the
*loop* letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tvm_equi.algebra.contraction import Contraction, Path
from tvm_equi.algebra.convolution import NODE_ROWS
from tvm_equi.algebra.kernel import Kernel, Step
from tvm_equi.lower.bundles import Bundle, bundles
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.shape import sum_stride


@dataclass(frozen=True, slots=True)
class Item:
    """One path of one step."""

    path: int
    step: Step


@dataclass(frozen=True, slots=True)
class Walk:
    """Paths that one launch computes for rows, or for the edges of nodes.

    Args:
        contraction: that the paths are of.
        items: the paths and steps.
        lane: the letter that runs over threads; "" if there is one thread per row.
        start: the first lane.
        lanes: their number.
        loop: the letter that a thread loops over, or "".
        by_node: whether an operand lives on nodes, so that edges are taken node by node.
        group: equal for launches that differ in lanes only.
    """

    contraction: int
    items: tuple[Item, ...]
    lane: str
    start: int
    lanes: int
    loop: str
    by_node: bool
    group: int


@dataclass(frozen=True, slots=True)
class Product:
    """Paths of a "mix" contraction with a matrix that all rows share, into one segment.

    Args:
        contraction: that the paths are of.
        output: the slot that is computed.
        segment: of the output.
        items: the paths and steps.
        group: as in `Walk`.
    """

    contraction: int
    output: int
    segment: int
    items: tuple[Item, ...]
    group: int


Launch = Walk | Product


@lru_cache(maxsize=256)
def launches(kernel: Kernel, decisions: GpuDecisions) -> tuple[Launch, ...]:
    """The launches of a kernel.

    Args:
        kernel: the program.
        decisions: from a schedule.
    """
    found: list[Launch] = []
    for bundle in bundles(kernel):
        form = kernel.contractions[bundle.contraction]
        if form.family == "mix" and form.operands[1].rows == "shared":
            found += _products(form, bundle, len(found))
        else:
            found += _walks(kernel, form, bundle, decisions, len(found))
    return tuple(found)


def letters(path: Path, channels: str) -> tuple[str, ...]:
    """The letters of a channel pattern that have more than one value."""
    return tuple(letter for letter in channels.replace("<", "") if path.extent(letter) > 1)


def lane_letter(form: Contraction, path: Path, output: int) -> str:
    """The letter that runs over threads where a path computes an operand.

    A letter of the output, so that each thread adds to elements of its own; of two letters the
    last, whose values lie side by side, unless it has few and the other many. For an output without
    letters the largest one, and lanes are summed.

    Args:
        form: the contraction.
        path: one of its paths.
        output: the slot that is computed.
    """
    own = letters(path, path.channels[output])
    if len(own) == 1:
        return own[0]
    if own:
        few = path.extent(own[1]) < min(32, path.extent(own[0]))
        return own[0] if few else own[1]
    if form.operands[output].rows != "row":
        return ""
    extents = {letter: extent for letter, extent in path.extents if extent > 1}
    return max(extents, key=lambda letter: extents[letter], default="")


def loop_letter(path: Path, lane: str) -> str:
    """The letter with more than one value that does not run over threads, or ""."""
    return next((letter for letter, extent in path.extents if extent > 1 and letter != lane), "")


def _products(form: Contraction, bundle: Bundle, group: int) -> list[Launch]:
    """A launch for every segment that products with a shared matrix compute."""
    targets: dict[tuple[str, int, int], list[Item]] = {}
    for step in bundle.steps:
        for number, path in enumerate(form.paths):
            key = (step.target, step.output, path.segments[step.output])
            targets.setdefault(key, []).append(Item(number, step))
    return [
        Product(bundle.contraction, output, segment, tuple(items), group + number)
        for number, ((_, output, segment), items) in enumerate(targets.items())
    ]


def _walks(
    kernel: Kernel, form: Contraction, bundle: Bundle, decisions: GpuDecisions, group: int
) -> list[Launch]:
    """Launches of paths with the same lanes, whose sums fit registers."""
    kinds: dict[tuple[str, int, str, int], list[Item]] = {}
    for number, path in enumerate(form.paths):
        for step in bundle.steps:
            lane = lane_letter(form, path, step.output)
            loop = loop_letter(path, lane)
            key = (
                lane,
                path.extent(lane) if lane else 1,
                loop,
                path.extent(loop) if loop else 1,
            )
            kinds.setdefault(key, []).append(Item(number, step))
    found: list[Launch] = []
    for (lane, extent, loop, _), items in kinds.items():
        most = _most_lanes(form, items, lane, decisions)
        is_alone = extent < decisions.min_table_lanes
        for part in _packed(form, items, lane, min(extent, most), is_alone, decisions):
            by_node = any(
                kernel.operand(name).rows in NODE_ROWS for i in part for name in i.step.operands
            )
            number = group + len(found)
            for start in range(0, extent, most):
                lanes = min(most, extent - start)
                found.append(
                    Walk(bundle.contraction, tuple(part), lane, start, lanes, loop, by_node, number)
                )
    return found


def _lane_sums(form: Contraction, items: list[Item], lane: str) -> dict[tuple[str, int], int]:
    """The components of each output segment whose lanes are summed."""
    found: dict[tuple[str, int], int] = {}
    for item in items:
        path, slot = form.paths[item.path], item.step.output
        if lane not in letters(path, path.channels[slot]):
            segment = path.segments[slot]
            found[item.step.target, segment] = form.operands[slot].segments[segment].dim
    return found


def _most_lanes(form: Contraction, items: list[Item], lane: str, decisions: GpuDecisions) -> int:
    """The most lanes with which shared memory holds a row's sums over lanes, for every output."""
    if not lane:
        return decisions.max_lanes
    widest = max(_lane_sums(form, items, lane).values(), default=0)
    if not widest:
        return decisions.max_lanes
    fitting = decisions.reduce_elements // widest - 1  # each sum takes an odd number
    return max(1, min(decisions.max_lanes, fitting - fitting % 32 or fitting))


def _packed(
    form: Contraction,
    items: list[Item],
    lane: str,
    lanes: int,
    is_alone: bool,
    decisions: GpuDecisions,
) -> list[list[Item]]:
    """The items in parts that registers and shared memory suffice for; paths stay whole.

    A thread keeps its sums. Where threads have few neighbours (`is_alone`), each combines
    coefficients itself, and what it reads is kept too. Shared memory holds the sums over lanes.
    """
    by_path: dict[int, list[Item]] = {}
    for item in sorted(items, key=lambda i: form.paths[i.path].segments):
        by_path.setdefault(item.path, []).append(item)
    parts: list[list[Item]] = []
    kept: dict[tuple[str, int], int] = {}
    laned: dict[tuple[str, int], int] = {}
    for number, some in by_path.items():
        path, sizes = form.paths[number], {}
        for item in some:
            for slot, name in enumerate(item.step.operands):
                if slot == item.step.output or is_alone:
                    segment = path.segments[slot]
                    sizes[name, segment] = form.operands[slot].segments[segment].dim
        sums = _lane_sums(form, some, lane) if lanes > 1 else {}
        shared = sum((laned | sums).values()) * sum_stride(lanes)
        is_full = sum((kept | sizes).values()) > decisions.sums
        if not parts or is_full or shared > decisions.reduce_elements:
            parts.append([])
            kept, laned = {}, {}
        parts[-1] += some
        kept |= sizes
        laned |= sums
    return parts
