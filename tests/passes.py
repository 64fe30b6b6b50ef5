"""What tests of passes share: random arrays for a graph, and checks of function and symmetry."""

import numpy as np
import torch
from e3nn import o3

from tvm_equi.graph import TensorProductGraph, from_json, interpret, to_json
from tvm_equi.graph.types import IndexType

COUNTS = {"node": 4, "edge": 7, "graph": 2}


def random_arrays(graph: TensorProductGraph, seed: int) -> dict[str, np.ndarray]:
    """Arrays for the inputs and parameters of a graph."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name in (*graph.inputs, *graph.parameters):
        kind = graph.types[name]
        lead = () if kind.rows == "shared" else (COUNTS[kind.rows],)
        if isinstance(kind, IndexType):
            arrays[name] = rng.integers(0, COUNTS[kind.into], lead)
        else:
            arrays[name] = rng.normal(size=(*lead, kind.dim))
    return arrays


def checked(rewrite: object, graph: TensorProductGraph, seed: int = 0) -> TensorProductGraph:
    """The rewritten graph, after checks: same function and symmetry, nothing done twice."""
    after = rewrite(graph)
    assert rewrite(after) == after
    assert from_json(to_json(after)) == after
    assert after.inputs == graph.inputs
    assert after.outputs == graph.outputs
    arrays = random_arrays(graph, seed)
    assert_same_values(graph, after, arrays)
    assert_equivariant(after, arrays, seed)
    return after


def assert_same_values(before: TensorProductGraph, after: TensorProductGraph, arrays: dict) -> None:
    """Compares two graphs on the same arrays, in float64."""
    wanted, got = interpret(before, arrays), interpret(after, arrays)
    for name in before.outputs:
        assert after.types[name].irreps == before.types[name].irreps
        scale = max(1.0, float(np.abs(wanted[name]).max(initial=0)))
        np.testing.assert_allclose(got[name], wanted[name], atol=1e-10 * scale, rtol=1e-9)


def assert_equivariant(graph: TensorProductGraph, arrays: dict, seed: int = 0) -> None:
    """Turns and inverts all inputs, and expects the outputs to turn with them."""
    generator = torch.Generator().manual_seed(seed)
    quaternion = torch.nn.functional.normalize(
        torch.randn(4, generator=generator, dtype=torch.float64), dim=0
    )
    for parity in (1, -1):
        turned = dict(arrays)
        for name in graph.inputs:
            kind = graph.types[name]
            if not isinstance(kind, IndexType):
                turned[name] = arrays[name] @ transform(kind, quaternion, parity).T
        before, after = interpret(graph, arrays), interpret(graph, turned)
        for name in graph.outputs:
            expected = before[name] @ transform(graph.types[name], quaternion, parity).T
            scale = max(1.0, float(np.abs(expected).max(initial=0)))
            np.testing.assert_allclose(after[name], expected, atol=1e-9 * scale, rtol=1e-6)


def transform(kind: object, quaternion: torch.Tensor, parity: int) -> np.ndarray:
    """The matrix by which a value turns, in its layout."""
    irreps = o3.Irreps(kind.irreps)
    total = np.zeros((irreps.dim, irreps.dim))
    start = 0
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # e3nn's matrices are only as exact as this
    for mul, ir in irreps:
        matrix = ir.D_from_quaternion(quaternion, torch.tensor(float(parity == -1))).numpy()
        eye = np.eye(mul)
        block = np.kron(eye, matrix) if kind.layout == "mul_ir" else np.kron(matrix, eye)
        total[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    torch.set_default_dtype(default)
    return total
