"""Draw a graph, and the sparsity of its Clebsch-Gordan blocks, as SVG or HTML.

In: a graph. Out: one file that needs no other: boxes with operations, what was fused and the cost,
irreps on the legs, and for every coupling of degrees the nonzeros of its block, by sign. Refused:
other file names, and drawing without matplotlib.
"""

from __future__ import annotations

import html
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.errors import ArgumentError, UnsupportedError
from tvm_equi.graph.convolution_network import best_orders
from tvm_equi.graph.graph import TABLE_HEADER, TensorProductGraph, table_rows
from tvm_equi.graph.operations import Convolution, TensorProduct
from tvm_equi.graph.picture import LINE_HEIGHT, PADDING, Box, Leg, Picture, picture
from tvm_equi.graph.regions import coupling_part

SUFFIXES = (".html", ".svg")
COLORS = {
    "Input": "#eceff1",
    "Linear": "#dcedc8",
    "TensorProduct": "#ffe0b2",
    "Convolution": "#ffcc80",
    "SphericalHarmonics": "#e1bee7",
    "SymmetricContraction": "#ffab91",
    "ScalarMLP": "#bbdefb",
    "RadialBasis": "#bbdefb",
    "Activation": "#bbdefb",
}
OTHER_COLOR = "#f5f5f5"
BLOCK = 5.5
"""Points of an entry of a Clebsch-Gordan block."""

Degrees = tuple[int, int, int]


def draw(graph: TensorProductGraph, path: str | Path) -> Path:
    """Writes the picture of a graph.

    Args:
        graph: to draw.
        path: ends in .svg or .html.

    Returns:
        The path.

    Raises:
        ArgumentError: another ending.
        UnsupportedError: matplotlib is missing.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise ArgumentError(
            f"draw: path: expected a name that ends in {' or '.join(SUFFIXES)}, got {str(path)!r}"
        )
    if find_spec("matplotlib") is None:
        raise UnsupportedError(
            "draw: expected matplotlib, got none; install it with: pip install 'tvm_equi[tune]'"
        )
    network, blocks = _network_svg(picture(graph)), _blocks_svg(graph)
    is_page = target.suffix == ".html"
    text = _page(graph, network, blocks) if is_page else _stacked(network, blocks)
    target.write_text(text, encoding="utf-8")
    return target


def couplings(graph: TensorProductGraph) -> dict[Degrees, int]:
    """How many paths couple which degrees, over all products of a graph.

    Args:
        graph: to look at.
    """
    found: dict[Degrees, int] = {}
    for node in graph.nodes:
        product = node.operation
        if isinstance(product, Convolution):
            product = product.product
        if isinstance(product, TensorProduct):
            live = coupling_part(product)[0]
            for ins in live.instructions:
                one, two, three = (irrep.degree for irrep in live.irreps_of(ins))
                found[one, two, three] = found.get((one, two, three), 0) + 1
    return dict(sorted(found.items()))


def _svg(figure: Any) -> str:
    """A figure as text, the same in every run."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tvm_equi"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    """A figure and axes in points, y downwards."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return figure, axes


def _network_svg(shown: Picture) -> str:
    """Boxes and legs."""
    figure, axes = _canvas(shown.width, shown.height)
    for leg in shown.legs:
        _draw_leg(axes, leg)
    for box in shown.boxes:
        _draw_box(axes, box)
    return _svg(figure)


def _draw_leg(axes: Any, leg: Leg) -> None:
    """A smooth line with an arrow at its end."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    vertices, codes = [leg.points[0]], [Curve.MOVETO]
    for number, ((x0, y0), (x1, y1)) in enumerate(zip(leg.points, leg.points[1:], strict=False)):
        if number % 2:  # straight past a layer
            vertices.append((x1, y1))
            codes.append(Curve.LINETO)
        else:
            middle = (y0 + y1) / 2
            vertices += [(x0, middle), (x1, middle), (x1, y1)]
            codes += [Curve.CURVE4] * 3
    curve = Curve(vertices, codes)
    arrow = FancyArrowPatch(
        path=curve, arrowstyle="-|>", mutation_scale=7, color="#78909c", linewidth=0.9, zorder=1
    )
    axes.add_patch(arrow)


def _draw_box(axes: Any, box: Box) -> None:
    """A box with its text, and the label of the leg that leaves it."""
    from matplotlib.patches import FancyBboxPatch

    left, top = box.x - box.width / 2, box.y - box.height / 2
    axes.add_patch(
        FancyBboxPatch(
            (left, top),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=4",
            facecolor=COLORS.get(box.kind, OTHER_COLOR),
            edgecolor="#546e7a",
            linewidth=0.8,
            zorder=2,
        )
    )
    for number, line in enumerate(box.lines):
        axes.text(
            box.x,
            top + PADDING + (number + 0.5) * LINE_HEIGHT,
            line,
            ha="center",
            va="center",
            fontsize=7.5,
            family="monospace",
            weight="bold" if number == 0 else "normal",
            color="#263238" if number < 2 else "#455a64",
            zorder=3,
        )
    axes.text(
        box.x,
        top + box.height + 4,
        box.label,
        ha="center",
        va="top",
        fontsize=7,
        family="monospace",
        color="#b71c1c",
        zorder=3,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )


def _blocks_svg(graph: TensorProductGraph) -> str:
    """The nonzeros of each coupling: for each j a matrix of i (down) and k (across)."""
    found = couplings(graph)
    places, x, y, tallest = [], 12.0, 34.0, 0.0
    for degrees in found:
        d1, d2, d3 = (2 * degree + 1 for degree in degrees)
        width = max(d2 * (d3 * BLOCK + 4), 92.0)
        height = d1 * BLOCK + 30
        if x + width > 900 and x > 12:
            x, y, tallest = 12.0, y + tallest + 8, 0.0
        places.append((degrees, x, y))
        x, tallest = x + width + 22, max(tallest, height)
    figure, axes = _canvas(936.0, y + tallest + 10)
    axes.text(
        12,
        12,
        "Clebsch-Gordan blocks l1 x l2 -> l3: for each j a matrix of i (down) and k (across); "
        "positive red, negative blue",
        fontsize=8,
        va="center",
        color="#263238",
    )
    for degrees, left, top in places:
        _draw_block(axes, degrees, found[degrees], (left, top))
    return _svg(figure)


def _draw_block(axes: Any, degrees: Degrees, num_paths: int, corner: tuple[float, float]) -> None:
    """One coupling."""
    from matplotlib.patches import Rectangle

    block = wigner_3j(*degrees)
    d1, d2, d3 = block.shape
    left, top = corner
    count = int(np.count_nonzero(block))
    title = f"{degrees[0]} x {degrees[1]} -> {degrees[2]}: {count} of {block.size}"
    axes.text(left, top + 4, title, fontsize=7, family="monospace", va="center")
    axes.text(
        left,
        top + 13,
        f"{num_paths} path{'s' if num_paths > 1 else ''}",
        fontsize=6,
        family="monospace",
        va="center",
        color="#607d8b",
    )
    largest = np.abs(block).max()
    for j in range(d2):
        start = left + j * (d3 * BLOCK + 4)
        axes.add_patch(
            Rectangle(
                (start, top + 19),
                d3 * BLOCK,
                d1 * BLOCK,
                facecolor="#fafafa",
                edgecolor="#b0bec5",
                linewidth=0.5,
            )
        )
        for i, k in np.argwhere(block[:, j, :] != 0):
            value = block[i, j, k] / largest
            axes.add_patch(
                Rectangle(
                    (start + k * BLOCK, top + 19 + i * BLOCK),
                    BLOCK,
                    BLOCK,
                    facecolor="#c62828" if value > 0 else "#1565c0",
                    alpha=0.35 + 0.65 * abs(value),
                    linewidth=0,
                )
            )


def _body(svg: str) -> str:
    """An SVG without the lines before its element."""
    return svg[svg.index("<svg") :]


def _size(svg: str) -> tuple[float, float]:
    """The width and height of an SVG, in points."""
    head = svg[svg.index("<svg") : svg.index(">", svg.index("<svg"))]
    width = head.split('width="')[1].split("pt")[0]
    height = head.split('height="')[1].split("pt")[0]
    return float(width), float(height)


def _stacked(network: str, blocks: str) -> str:
    """One SVG with both pictures, one above the other."""
    (w1, h1), (w2, h2) = _size(network), _size(blocks)
    width, height = max(w1, w2), h1 + h2
    first = _body(network).replace("<svg", f'<svg x="{(width - w1) / 2}" y="0"', 1)
    second = _body(blocks).replace("<svg", f'<svg x="{(width - w2) / 2}" y="{h1}"', 1)
    second = _with_prefix(second)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}pt" height="{height}pt" viewBox="0 0 {width} {height}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{first}\n{second}\n</svg>\n'
    )


def _with_prefix(svg: str) -> str:
    """An SVG whose names of parts do not collide with those of another."""
    return svg.replace('id="', 'id="cg-').replace('"#', '"#cg-').replace("url(#", "url(#cg-")


def _page(graph: TensorProductGraph, network: str, blocks: str) -> str:
    """An HTML page: the network, the blocks, and the table of costs."""
    orders = "\n".join(f"{name}\n{order}\n" for name, order in best_orders(graph).items())
    cells = ["".join(f"<th>{html.escape(text)}</th>" for text in TABLE_HEADER)]
    for row in table_rows(graph):
        cells.append("".join(f"<td>{html.escape(text)}</td>" for text in row))
    table = "\n".join(f"<tr>{row}</tr>" for row in cells)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>tvm_equi graph</title>
<style>
body {{ font: 14px sans-serif; margin: 16px; color: #263238; }}
.wide {{ overflow: auto; border: 1px solid #cfd8dc; margin-bottom: 16px; }}
table {{ border-collapse: collapse; font: 12px monospace; }}
td, th {{ padding: 2px 8px; text-align: left; border-bottom: 1px solid #eceff1; }}
td:nth-child(n+5) {{ text-align: right; }}
</style></head><body>
<h1>Graph {html.escape(graph.key()[:12])}</h1>
<div class="wide">{_body(network)}</div>
<div class="wide">{_with_prefix(_body(blocks))}</div>
<h2>Counts per row of the value</h2>
<div class="wide"><table>
{table}
</table></div>
<h2>Orders of contraction with the fewest multiply-adds, for a node of 28 edges</h2>
<pre>{html.escape(orders) or "no convolution of one mode"}</pre>
<p>outputs: {html.escape(", ".join(graph.outputs))}</p>
</body></html>
"""
