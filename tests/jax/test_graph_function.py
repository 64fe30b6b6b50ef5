"""A model as a pure function: torch's energies, forces and training gradients; symmetry; errors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.passes import transform
from tvm_equi.demo.model import ReferenceModel, Settings, graph_parameters, interaction_graph
from tvm_equi.errors import ArgumentError, ArgumentTypeError, IndexRangeError
from tvm_equi.graph.types import ValueType
from tvm_equi.jax.graph_function import GraphFunction, from_graph
from tvm_equi.jax.topology import Topology

pytestmark = pytest.mark.deploy

SETTINGS = Settings(
    num_channels=4, num_layers=2, max_degree=1, feature_degree=1, num_basis=4, num_hidden=8
)
NODES = 6


def structure(seed: int = 0) -> dict[str, np.ndarray]:
    """Atoms in a box, all pairs closer than the cutoff."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(NODES, 3)) * 1.5
    pairs = [
        (i, j)
        for i in range(NODES)
        for j in range(NODES)
        if i != j and np.linalg.norm(positions[i] - positions[j]) < SETTINGS.cutoff
    ]
    senders, receivers = np.array(pairs).T
    species = np.eye(3)[rng.integers(0, 3, NODES)]
    shifts = np.zeros((len(pairs), 3))
    names = ("positions", "species", "senders", "receivers", "shifts")
    return dict(zip(names, (positions, species, senders, receivers, shifts), strict=True))


@pytest.fixture(scope="module")
def model() -> tuple[ReferenceModel, GraphFunction, dict[str, jax.Array]]:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    reference = ReferenceModel(SETTINGS)
    torch.set_default_dtype(default)
    graph = interaction_graph(SETTINGS, "float64")
    parameters = graph_parameters(reference, graph)
    arrays = {name: jnp.asarray(value.numpy()) for name, value in parameters.items()}
    return reference, from_graph(graph), arrays


def test_energy_forces_and_training_gradient(model: object) -> None:
    reference, function, parameters = model
    atoms = structure()
    inputs = {name: jnp.asarray(array) for name, array in atoms.items()}

    def energy(parameters: dict, positions: jax.Array) -> jax.Array:
        return function(parameters, **(inputs | {"positions": positions}))[0]

    def loss(parameters: dict) -> jax.Array:
        return (jax.grad(energy, 1)(parameters, inputs["positions"]) ** 2).sum()

    tensors = {name: torch.tensor(array) for name, array in atoms.items()}
    tensors["positions"].requires_grad_()
    wanted = reference(*tensors.values())
    (slope,) = torch.autograd.grad(wanted.sum(), tensors["positions"], create_graph=True)
    (slope**2).sum().backward()
    found, grad = jax.jit(jax.value_and_grad(energy, 1))(parameters, inputs["positions"])
    np.testing.assert_allclose(found, wanted.item(), rtol=1e-12)
    np.testing.assert_allclose(grad, slope.detach().numpy(), atol=1e-11)
    trained = jax.jit(jax.grad(loss))(parameters)
    for name, value in reference.named_parameters():
        if name in trained and value.grad is not None:
            is_mix = name.endswith(".mix.weight")  # whose rows the graph has in another order
            given, expected = np.asarray(trained[name]), value.grad.numpy().reshape(-1)
            if is_mix:
                given, expected = np.sort(given), np.sort(expected)
            np.testing.assert_allclose(given, expected, atol=1e-10, err_msg=name)
    direction = jnp.ones((NODES, 3))
    gradient = jax.grad(lambda x: energy(parameters, x))
    _, moved = jax.jvp(gradient, (inputs["positions"],), (direction,))
    step = 1e-5
    ahead, behind = (gradient(inputs["positions"] + s * direction * 0.1) for s in (step, -step))
    np.testing.assert_allclose(moved * 0.1, (ahead - behind) / (2 * step), atol=1e-6)


@pytest.mark.parametrize("parity", [1, -1])
def test_symmetry(model: object, parity: int) -> None:
    _, function, parameters = model
    graph = function.graph
    features = replace(graph, outputs=("layers.0.gate", "energy"))
    run = jax.jit(GraphFunction(features))
    atoms = structure()
    quaternion = torch.nn.functional.normalize(
        torch.tensor([0.3, -0.5, 0.7, 0.2], dtype=torch.float64), dim=0
    )
    turned = dict(atoms)
    for name, array in atoms.items():
        kind = features.types[name]
        if isinstance(kind, ValueType):
            turned[name] = array @ transform(kind, quaternion, parity).T
    before, after = run(parameters, **atoms), run(parameters, **turned)
    for name in features.outputs:
        expected = before[name] @ transform(features.types[name], quaternion, parity).T
        np.testing.assert_allclose(after[name], expected, atol=1e-10)
    assert np.abs(np.asarray(after["layers.0.gate"] - before["layers.0.gate"])).max() > 1e-3


def test_batches_of_structures(model: object) -> None:
    _, function, parameters = model
    atoms = {name: jnp.asarray(array) for name, array in structure().items()}
    moved = atoms["positions"] + jnp.linspace(0, 0.1, 3)[:, None, None] * jnp.ones((3,))[None, None]
    moved = moved.at[:, 0].mul(jnp.array([1.0, 0.9, 1.1])[:, None])

    def energy(positions: jax.Array) -> jax.Array:
        return function(parameters, **(atoms | {"positions": positions}))[0]

    found = jax.jit(jax.vmap(jax.grad(energy)))(moved)
    for positions, grad in zip(moved, found, strict=True):
        np.testing.assert_allclose(grad, jax.grad(energy)(positions), atol=1e-11)


def test_padding_changes_nothing(model: object) -> None:
    _, function, parameters = model
    atoms = structure()
    num = len(atoms["senders"])
    padded = atoms | {
        "senders": np.append(atoms["senders"], [NODES, 0]),
        "receivers": np.append(atoms["receivers"], [0, NODES]),
        "shifts": np.concatenate([atoms["shifts"], np.full((2, 3), 9.0)]),
    }

    def energy(parameters: dict, atoms: dict) -> jax.Array:
        return function(parameters, **atoms)[0]

    wanted = jax.jit(jax.value_and_grad(energy))(parameters, atoms)
    found = jax.jit(jax.value_and_grad(energy))(parameters, padded)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)
    for name in parameters:
        np.testing.assert_allclose(found[1][name], wanted[1][name], atol=1e-11)
    with pytest.raises(
        IndexRangeError, match=r"senders: expected indices from 0 to 5 .nodes., got"
    ):
        energy(parameters, padded)
    index = np.stack([atoms["senders"], atoms["receivers"]])
    topologies = {("senders", "receivers"): Topology(index, NODES)}
    given = jax.jit(lambda p, t: function(p, **atoms, topologies=t)[0])(parameters, topologies)
    np.testing.assert_allclose(given, wanted[0], rtol=1e-12)
    assert num == len(atoms["senders"])


def test_random_parameters(model: object) -> None:
    _, function, parameters = model
    drawn = function.init(jax.random.key(0))
    assert {n: v.shape for n, v in drawn.items()} == {n: v.shape for n, v in parameters.items()}
    assert float(drawn["embed.weight"].std()) > 0.3
    assert "Convolution" in repr(function)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"positions": None}, ArgumentTypeError, "positions: expected an array, got NoneType"),
        ({"velocities": np.zeros(3)}, ArgumentError, "inputs: expected one of .*'velocities'"),
        ({"shifts": np.zeros((2, 3))}, ArgumentError, "shifts: expected .* rows like the other"),
        ({"species": np.zeros((6, 2))}, ArgumentError, r"species: expected shape \[nodes, 3\]"),
        (
            {"positions": np.zeros((6, 3), "float32")},
            ArgumentTypeError,
            "positions: expected float64, got float32; set jax_enable_x64",
        ),
        (
            {"senders": np.zeros(3)},
            ArgumentTypeError,
            "senders: expected int32 or int64, got float64; cast it to int32",
        ),
    ],
)
def test_inputs_that_are_refused(
    model: object, change: dict, error: type[Exception], message: str
) -> None:
    _, function, parameters = model
    with pytest.raises(error, match=message):
        function(parameters, **(structure() | change))


def test_calls_that_are_refused(model: object) -> None:
    _, function, parameters = model
    atoms = structure()
    with pytest.raises(
        ArgumentError, match=r"parameters: readout.weight: expected an array, got n"
    ):
        function({n: v for n, v in parameters.items() if n != "readout.weight"}, **atoms)
    with pytest.raises(
        ArgumentError, match=r"parameters: expected one of .*did you mean 'readout.w"
    ):
        function(parameters | {"readout.weigth": 0}, **atoms)
    with pytest.raises(ArgumentError, match=r"parameters: readout.weight: expected shape \[4\]"):
        function(parameters | {"readout.weight": jnp.zeros(3)}, **atoms)
    with pytest.raises(ArgumentError, match="positions: expected it once, got it twice"):
        function(parameters, atoms["positions"], **atoms)
    with pytest.raises(ArgumentError, match=r"expected 5 .* got 6"):
        function(parameters, *range(6))
    with pytest.raises(ArgumentError, match="species: expected an array, got none"):
        function(parameters, atoms["positions"])
