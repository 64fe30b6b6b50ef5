"""Launches: each path of each step once, lanes that cover the channels, sums that fit, in order."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lower.test_primfunc import MODES, derivatives, product
from tvm_equi.algebra.convolution import NODE_ROWS, passes, stages
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, WeightRows, tensor_product_kernel
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.launches import (
    Item,
    Product,
    Walk,
    lane_letter,
    launches,
    letters,
    loop_letter,
)

WEIGHTS: list[WeightRows] = ["row", "shared"]


def all_kernels(mode: str, muls: tuple[int, int, int], weight_rows: WeightRows) -> list[Kernel]:
    """On rows and on edges, with first and second derivatives."""
    whole = product(mode, muls, weight_rows)
    on_edges = [p.kernel for one in derivatives(stages(whole).edges) for p in passes(one)]
    return [*derivatives(whole), *on_edges]


def check(kernel: Kernel, decisions: GpuDecisions) -> None:
    """Everything that lowering relies on."""
    seen: Counter[tuple[int, Item]] = Counter()
    groups: dict[int, list[Walk | Product]] = {}
    for launch in launches(kernel, decisions):
        groups.setdefault(launch.group, []).append(launch)
    assert list(groups) == sorted(groups)
    for members in groups.values():
        first = members[0]
        form = kernel.contractions[first.contraction]
        assert all(item.step.contraction == first.contraction for item in first.items)
        seen.update((first.contraction, item) for item in first.items)
        if isinstance(first, Product):
            assert len(members) == 1
            for item in first.items:
                assert item.step.output == first.output
                assert form.paths[item.path].segments[first.output] == first.segment
            continue
        extent = form.paths[first.items[0].path].extent(first.lane) if first.lane else 1
        ends = 0
        for launch in members:
            assert isinstance(launch, Walk)
            assert launch.items == first.items
            assert (launch.lane, launch.loop) == (first.lane, first.loop)
            assert launch.start == ends
            assert 1 <= launch.lanes <= decisions.max_lanes
            ends += launch.lanes
        assert ends == extent
        check_walk(kernel, first, decisions)
    assert set(seen.values()) == {1}
    steps = [(step.contraction, step) for step in kernel.steps]
    assert set(seen) == {
        (contraction, Item(path, step))
        for contraction, step in steps
        for path in range(len(kernel.contractions[contraction].paths))
    }
    check_order(kernel, decisions)


def check_walk(kernel: Kernel, launch: Walk, decisions: GpuDecisions) -> None:
    """Letters, registers and shared memory."""
    form = kernel.contractions[launch.contraction]
    sums: dict[tuple[str, int], int] = {}
    laned: dict[tuple[str, int], int] = {}
    for item in launch.items:
        path, output = form.paths[item.path], item.step.output
        assert lane_letter(form, path, output) == launch.lane
        used = {letter for channels in path.channels for letter in letters(path, channels)}
        assert used == {launch.lane, launch.loop} - {""}
        key = (item.step.target, path.segments[output])
        sums[key] = form.dims(path)[output]
        if launch.lanes > 1 and launch.lane not in path.channels[output]:
            laned[key] = sums[key]
            assert form.operands[output].rows == "row"
            assert form.operands[output].segments[key[1]].mul == 1
    nodes = [kernel.operand(n).rows in NODE_ROWS for i in launch.items for n in i.step.operands]
    assert launch.by_node == any(nodes)
    if len({item.path for item in launch.items}) > 1:
        assert sum(sums.values()) <= decisions.sums
        assert sum(laned.values()) * (launch.lanes | 1) <= decisions.reduce_elements
    for dim in laned.values():
        assert dim * (launch.lanes | 1) <= decisions.reduce_elements


def check_order(kernel: Kernel, decisions: GpuDecisions) -> None:
    """A launch reads what earlier ones have completed."""
    found = launches(kernel, decisions)
    last = {item.step.target: n for n, launch in enumerate(found) for item in launch.items}
    for number, launch in enumerate(found):
        for item in launch.items:
            assert all(last.get(name, -1) < number for name in item.step.sources)


@pytest.mark.parametrize("weight_rows", WEIGHTS)
@pytest.mark.parametrize(("mode", "u", "v", "w"), MODES)
def test_every_path_once(mode: str, u: int, v: int, w: int, weight_rows: WeightRows) -> None:
    for kernel in all_kernels(mode, (u, v, w), weight_rows):
        check(kernel, GpuDecisions())


@given(
    st.sampled_from(["uvu", "uvv", "uvuv", "uuu", "uvw"]),
    st.integers(1, 80),
    st.integers(1, 12),
    st.sampled_from(WEIGHTS),
    st.builds(
        GpuDecisions,
        max_lanes=st.sampled_from([7, 32, 64]),
        sums=st.integers(1, 40),
        reduce_elements=st.integers(100, 2000),
    ),
)
def test_any_decisions(
    mode: str, u: int, v: int, weight_rows: WeightRows, decisions: GpuDecisions
) -> None:
    muls = {"uvu": (u, v, u), "uvv": (u, v, v), "uvuv": (u, v, u * v), "uuu": (u, u, u)}
    for kernel in derivatives(product(mode, muls.get(mode, (u, v, 5)), weight_rows))[:2]:
        check(kernel, decisions)


def test_budget_of_registers_splits_launches() -> None:
    kernel = product("uvu", (16, 1, 16), "row")  # sums of 3 and 5 components: z[0] and z[1]

    def parts(sums: int) -> list[list[int]]:
        found = launches(kernel, GpuDecisions(sums=sums))
        return [[item.path for item in launch.items] for launch in found]

    assert parts(8) == [[0, 1, 2]]
    assert parts(7) == [[0], [1, 2]]
    assert parts(1) == [[0], [1], [2]]


def test_many_channels_take_several_launches() -> None:
    kernel = product("uvu", (300, 1, 300), "row")
    found = [launch for launch in launches(kernel, GpuDecisions()) if isinstance(launch, Walk)]
    assert [(walk.start, walk.lanes, walk.group) for walk in found] == [(0, 256, 0), (256, 44, 0)]


@pytest.mark.parametrize("elements", [2560, 5120])
@pytest.mark.parametrize("mul", [31, 128, 200, 256])
def test_sums_over_lanes_fit_shared_memory(mul: int, elements: int) -> None:
    """Of gradients to attributes of high degree, by many channels."""
    kernel = tensor_product_kernel(
        ((mul, 0),),
        tuple((1, degree) for degree in range(9)),
        tuple((mul, degree) for degree in range(9)),
        tuple(Instruction(0, degree, degree, "uvu", True, 1.0) for degree in range(9)),
        weight_rows="row",
    )
    decisions = GpuDecisions(reduce_elements=elements)
    check(vjp(kernel, (0, 1, 2), (0,)), decisions)


def test_products_with_a_shared_matrix() -> None:
    forward, backward, _ = derivatives(product("uvw", (10, 1, 20), "shared"))
    (found,) = [one for one in launches(forward, GpuDecisions()) if isinstance(one, Product)][:1]
    assert (found.output, found.segment, len(found.items)) == (2, 0, 1)
    outputs = {one.output for one in launches(backward, GpuDecisions()) if isinstance(one, Product)}
    assert outputs == {0, 1}
    by_row = launches(product("uvw", (10, 1, 20), "row"), GpuDecisions())
    assert not any(isinstance(one, Product) for one in by_row)


@pytest.mark.parametrize(
    ("mode", "muls", "lanes", "loops"),
    [
        # letters for the computed x, y, w and z
        ("uvu", (19, 1, 19), "uuuu", ("", "", "", "")),
        ("uvu", (3, 11, 3), "uvvu", ("v", "u", "u", "v")),
        ("uvv", (3, 20, 20), "uvvv", ("v", "u", "u", "u")),
        ("uvv", (1, 4, 4), "vvvv", ("", "", "", "")),  # lanes are summed for x
        ("uvuv", (3, 5, 15), "uvvv", ("v", "u", "u", "u")),
        ("uvuv", (17, 2, 34), "uvuu", ("v", "u", "v", "v")),  # few of v, many of u
        ("uvuv", (40, 33, 1320), "uvvv", ("v", "u", "u", "u")),
        ("uuu", (21, 21, 21), "uuuu", ("", "", "", "")),
    ],
)
def test_letters(mode: str, muls: tuple[int, int, int], lanes: str, loops: tuple[str, ...]) -> None:
    form = product(mode, muls, "row").contractions[0]
    path = form.paths[0]
    assert "".join(lane_letter(form, path, slot) for slot in range(4)) == lanes
    assert tuple(loop_letter(path, lane) for lane in lanes) == loops


def test_letters_of_matrices_and_pairs() -> None:
    for mul, lane in ((20, "w"), (9, "u")):  # of W[u,w] with 10 u
        mix = next(
            form
            for form in product("uvw", (10, 1, mul), "row").contractions
            if form.family == "mix"
        )
        path = mix.paths[0]
        assert (lane_letter(mix, path, 0), lane_letter(mix, path, 2)) == ("u", "w")
        assert lane_letter(mix, path, 1) == lane
    select = product("uvu<v", (60, 60, 1770), "row").contractions[0]
    assert lane_letter(select, select.paths[0], 1) == "v"  # whose pairs lie side by side
    assert loop_letter(select.paths[0], "v") == "u"


def test_no_letters() -> None:
    single = product("uvu", (1, 1, 1), "row").contractions[0]
    assert [lane_letter(single, single.paths[0], slot) for slot in range(4)] == [""] * 4
    assert letters(single.paths[0], "uv") == ()
    # Lanes are summed where an operand is on rows; otherwise one thread adds up all of them.
    on_rows = product("uvv", (1, 4, 4), "row").contractions[0]
    on_nodes = stages(product("uvv", (1, 4, 4), "row")).edges.contractions[0]
    assert lane_letter(on_rows, on_rows.paths[0], 0) == "v"
    assert lane_letter(on_nodes, on_nodes.paths[0], 0) == ""
    assert loop_letter(on_nodes.paths[0], "") == "v"
