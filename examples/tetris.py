"""Classify e3nn's tetris shapes: eight pieces of four cubes, two of them mirror images.

    python -m examples.tetris --help

The network is a diagram written with `tvm_equi.Graph`: densities of spherical harmonics on nodes,
products with the edges of neighbours, a sum over nodes. It gives an odd scalar, by whose sign the
mirror images differ, and six even ones. It is trained on the shapes as they are, and classifies
them under random rotations; a reflection exchanges the mirror images.

Source:
    e3nn's example of tetris shapes, whose shapes and labels these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from e3nn import o3

import tvm_equi
from tvm_equi.graph import TensorProductGraph

SHAPES = (
    ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0)),  # chiral
    ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, -1, 0)),  # its mirror image
    ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)),  # square
    ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)),  # line
    ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)),  # corner
    ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)),  # L
    ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1)),  # T
    ((0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 0)),  # zigzag
)
RADIUS = 1.1  # neighbours share a face


@dataclass(frozen=True, slots=True)
class Result:
    """How well the shapes are classified.

    Args:
        losses: of each step.
        trained: share that is right, of the shapes as they were trained on.
        rotated: share that is right, of randomly rotated shapes.
        reflected: share that is right, of reflected shapes, the mirror images exchanged.
        invariance: largest change of an output under rotation, over the largest output.
    """

    losses: list[float]
    trained: float
    rotated: float
    reflected: float
    invariance: float


def network(channels: int) -> TensorProductGraph:
    """The diagram of the network.

    Args:
        channels: of each irrep between its two products.
    """
    graph = tvm_equi.Graph()
    vectors = graph.input("vectors", "1o", rows="edge")
    senders = graph.index("senders", rows="edge", into="node")
    receivers = graph.index("receivers", rows="edge", into="node")
    shapes = graph.index("shapes", rows="node", into="graph")
    share = graph.input("share", "0e", rows="graph")  # one over the number of nodes
    harmonics = vectors.spherical_harmonics(range(3))
    x = harmonics.scatter(receivers, factor=3**-0.5)
    hidden = "+".join(f"{channels}x{irrep}" for irrep in ("0e", "1e", "1o", "2e"))
    for irreps in (hidden, "0o + 6x0e"):
        x = x.gather(senders).tensor_product(harmonics, irreps).scatter(receivers, factor=3**-0.5)
    return graph.build(x.scatter(shapes).scale(share, name="scores"))


def shape_inputs(turns: torch.Tensor) -> dict[str, torch.Tensor]:
    """The inputs of the network for all shapes.

    Args:
        turns: an element of O(3) for each shape, [8, 3, 3].
    """
    positions = torch.tensor(SHAPES, dtype=turns.dtype)
    distances = (positions[:, :, None] - positions[:, None]).norm(dim=3)
    number, receivers, senders = torch.nonzero((distances < RADIUS) & (distances > 0)).T
    turned = positions @ turns.mT
    num_nodes = positions.shape[1]
    return {
        "vectors": turned[number, senders] - turned[number, receivers],
        "senders": senders + num_nodes * number,
        "receivers": receivers + num_nodes * number,
        "shapes": torch.arange(len(SHAPES)).repeat_interleave(num_nodes),
        "share": torch.full((len(SHAPES), 1), 1 / num_nodes),
    }


def labels() -> torch.Tensor:
    """What the scores should be: +1 and -1 for the mirror images, a column for each other shape."""
    wanted = torch.zeros(len(SHAPES), 7)
    wanted[0, 0], wanted[1, 0] = 1, -1
    for shape in range(2, len(SHAPES)):
        wanted[shape, shape - 1] = 1
    return wanted


def main(
    steps: Annotated[int, typer.Option(help="Steps of the optimizer, at most.", min=1)] = 300,
    channels: Annotated[int, typer.Option(help="Channels of each irrep.", min=1)] = 8,
    rate: Annotated[float, typer.Option(help="Rate of learning.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of the weights and rotations.")] = 0,
) -> Result:
    """Train a network on the tetris shapes, and classify them rotated and reflected."""
    torch.manual_seed(seed)
    model = tvm_equi.compile(network(channels), derivatives=1, wrt=[])
    same = torch.eye(3).expand(len(SHAPES), 3, 3)
    inputs, wanted = shape_inputs(same), labels()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    losses: list[float] = []
    while len(losses) < steps and (not losses or losses[-1] > 1e-3):
        optimizer.zero_grad()
        loss = (model(**inputs) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if len(losses) % 20 == 1:
            print(f"step {len(losses):>3}: loss {losses[-1]:.5f}")
    turns = o3.rand_matrix(len(SHAPES))
    mirrored = wanted * torch.tensor([-1.0, 1, 1, 1, 1, 1, 1])
    with torch.no_grad():
        scores = model(**inputs)
        rotated = model(**shape_inputs(turns))
        reflected = model(**shape_inputs(-turns))
    result = Result(
        losses,
        share_right(scores, wanted),
        share_right(rotated, wanted),
        share_right(reflected, mirrored),
        float((rotated - scores).abs().max() / scores.abs().max()),
    )
    print(f"{len(losses)} steps, loss {losses[-1]:.5f}")
    print(
        f"right: {result.trained:.0%}; rotated: {result.rotated:.0%}; reflected, with the mirror "
        f"images exchanged: {result.reflected:.0%}"
    )
    print(f"largest change of a score under rotation: {result.invariance:.1e}")
    return result


def share_right(scores: torch.Tensor, wanted: torch.Tensor) -> float:
    """The share of shapes whose scores round to what they should be.

    Args:
        scores: [shapes, 7].
        wanted: [shapes, 7].
    """
    return float((scores.round() == wanted).all(dim=1).float().mean())


if __name__ == "__main__":
    typer.run(main)
