"""Graphs have the sizes and degrees that `workloads.json` promises, the same in every run."""

import json

import pytest
import torch

from bench.graphs import BUILDERS, SMALL, Graph, molecules, names, select_graphs, skewed
from bench.workloads import PATH


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {graph.name: graph for graph in select_graphs(None)}


def test_every_graph_of_the_file_is_built() -> None:
    data = json.loads(PATH.read_text(encoding="utf-8"))
    assert names() == tuple(entry["name"] for entry in data["graphs"])
    assert set(names()) == set(BUILDERS) == set(SMALL)


@pytest.mark.parametrize(
    ("name", "num_nodes", "edges", "degrees"),
    [
        ("carbon", 64, (9_800, 10_500), (150, 170)),
        ("water", 192, (9_000, 12_000), (40, 70)),
        ("molecules", 860, (4_000, 7_000), (0, 20)),
        ("skewed", 500, (10_000, 10_000), (0, 2_000)),
    ],
)
def test_sizes(
    graphs: dict[str, Graph],
    name: str,
    num_nodes: int,
    edges: tuple[int, int],
    degrees: tuple[int, int],
) -> None:
    graph = graphs[name]
    assert graph.num_nodes == num_nodes
    assert edges[0] <= graph.num_edges <= edges[1]
    found = graph.degrees()
    assert degrees[0] <= int(found.min())
    assert int(found.max()) <= degrees[1]
    assert int(found.sum()) == graph.num_edges


@pytest.mark.parametrize("name", list(SMALL))
def test_types(name: str) -> None:
    (graph,) = select_graphs([name], small=True)
    assert graph.name == name
    assert graph.edge_index.dtype == torch.int64
    assert graph.edge_index.shape == (2, graph.num_edges)
    assert int(graph.edge_index.min()) >= 0
    assert int(graph.edge_index.max()) < graph.num_nodes
    assert graph.vectors.dtype == torch.float64
    assert graph.vectors.shape == (graph.num_edges, 3)


@pytest.mark.parametrize("name", list(SMALL))
def test_same_in_every_run(name: str) -> None:
    first, second = (select_graphs([name], small=True)[0] for _ in range(2))
    assert torch.equal(first.edge_index, second.edge_index)
    assert torch.equal(first.vectors, second.vectors)


@pytest.mark.parametrize(("name", "cutoff"), [("carbon", 6.0), ("water", 5.0), ("molecules", 5.0)])
def test_neighbours_see_each_other(graphs: dict[str, Graph], name: str, cutoff: float) -> None:
    graph = graphs[name]
    lengths = graph.vectors.norm(dim=1)
    assert float(lengths.min()) > 0.7
    assert float(lengths.max()) < cutoff
    senders, receivers = graph.edge_index
    there = torch.cat([senders[:, None], receivers[:, None], graph.vectors], dim=1)
    back = torch.cat([receivers[:, None], senders[:, None], -graph.vectors], dim=1)
    there, back = (_sorted(rows) for rows in (there, back))
    torch.testing.assert_close(there, back, rtol=0, atol=1e-6)


def _sorted(rows: torch.Tensor) -> torch.Tensor:
    """Rows in one order, whatever the rounding of their entries."""
    return torch.stack(sorted(rows, key=lambda row: [round(float(value), 5) for value in row]))


def test_molecules_are_separate() -> None:
    # Two nodes of different molecules never share an edge: as many parts as molecules.
    graph = molecules(5)
    parts = list(range(graph.num_nodes))
    for sender, receiver in graph.edge_index.T.tolist():
        old, new = parts[sender], parts[receiver]
        parts = [new if part == old else part for part in parts]
    assert len(set(parts)) >= 5


def test_skewed_has_a_hub_and_nodes_without_edges() -> None:
    graph = skewed(10_000)
    degrees = graph.degrees()
    assert int(degrees[0]) == 2_000
    assert int(degrees.argmax()) == 0
    touched = torch.bincount(graph.edge_index.flatten(), minlength=graph.num_nodes)
    assert touched[-25:].tolist() == [0] * 25
    receivers = graph.edge_index[1]
    assert not torch.equal(receivers, receivers.sort().values)
    assert int(degrees[1]) > 4 * int(degrees[10]) > 0
    torch.testing.assert_close(graph.vectors.norm(dim=1), torch.ones(10_000, dtype=torch.float64))


def test_tiny_skewed_graph() -> None:
    graph = skewed(8)
    assert (graph.num_nodes, graph.num_edges) == (4, 8)


def test_unknown_graph() -> None:
    with pytest.raises(ValueError, match=r"--graphs: expected some of carbon, .*, got iron"):
        select_graphs(["iron"])


def test_description() -> None:
    index = torch.tensor([[0, 1, 1], [1, 0, 0]])
    graph = Graph("pair", index, 3, torch.zeros(3, 3, dtype=torch.float64))
    assert str(graph) == "pair: 3 nodes, 3 edges, in-degree 0 to 2"
