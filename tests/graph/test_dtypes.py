"""The one dtype of a graph."""

import pytest

from tests.graphs import convolution
from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.dtypes import graph_dtype, with_dtype


def test_dtypes() -> None:
    graph = with_dtype(convolution(), "float64")
    assert graph_dtype(graph) == "float64"
    assert with_dtype(graph, "float32") == convolution()
    build = GraphBuilder()
    build.input("x", "0e", rows="node")
    build.dtype = "float64"
    build.input("y", "0e", rows="node")
    with pytest.raises(GraphError, match="graph: dtype: expected one for all values, got"):
        graph_dtype(build.graph("x", "y"))
