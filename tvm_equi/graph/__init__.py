"""Level 1: the graph of a model, what is known of it, and passes over it."""

from __future__ import annotations

from tvm_equi.graph.builder import GraphBuilder
from tvm_equi.graph.fluent import Graph
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.interpret import interpret
from tvm_equi.graph.pipeline import DEFAULT_PIPELINE, PLANNING_PIPELINE, Pipeline
from tvm_equi.graph.serialize import from_json, to_json

__all__ = [
    "DEFAULT_PIPELINE",
    "PLANNING_PIPELINE",
    "Graph",
    "GraphBuilder",
    "Pipeline",
    "TensorProductGraph",
    "from_json",
    "interpret",
    "to_json",
]
