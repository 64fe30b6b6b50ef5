"""The six layers of the page about fusion diagrams, written with e3nn and torch.

Each takes a dict of inputs and one of parameters, which have the names that the diagrams give them.
"""

from collections.abc import Callable, Sequence

import torch
from e3nn import o3
from e3nn.nn import FullyConnectedNet, Gate

from tvm_equi.graph.operations import SymmetricContraction
from tvm_equi.graph.types import canonical_irreps
from tvm_equi.nn.symmetric_reference import symmetric_reference

Tensors = dict[str, torch.Tensor]
CUTOFF, NEIGHBOURS = 4.0, 6.0
NODE = "4x0e + 4x1o"
IRREPS = canonical_irreps(NODE)


def every_path(
    in1: str, in2: str, keep: str, mode: str
) -> tuple[o3.Irreps, list[tuple[int, int, int, str, bool]]]:
    """e3nn's instructions for every path into irreps to keep, each with an output of its own."""
    found = [
        (mul, ir, i, j)
        for i, (mul, left) in enumerate(o3.Irreps(in1))
        for j, (_, right) in enumerate(o3.Irreps(in2))
        for ir in left * right
        if ir in o3.Irreps(keep)
    ]
    found.sort(key=lambda item: item[1])
    out = o3.Irreps([(mul, ir) for mul, ir, _, _ in found])
    return out, [(i, j, k, mode, True) for k, (_, _, i, j) in enumerate(found)]


def product(
    x: torch.Tensor,
    y: torch.Tensor,
    irreps: Sequence[str | o3.Irreps],
    paths: Sequence[tuple[int, int, int, str, bool]],
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """A tensor product by e3nn; without weights it has none."""
    if weights is None:
        paths = [(*path[:4], False) for path in paths]
    shared = weights is None or weights.dim() == 1
    tp = o3.TensorProduct(*irreps, paths, shared_weights=shared, internal_weights=False)
    return tp(x, y, weights) if weights is not None else tp(x, y)


def linear(x: torch.Tensor, irreps_in: object, irreps_out: str, w: torch.Tensor) -> torch.Tensor:
    return o3.Linear(irreps_in, irreps_out, internal_weights=False, shared_weights=True)(x, w)


def mlp(x: torch.Tensor, name: str, sizes: list[int], p: Tensors) -> torch.Tensor:
    """A perceptron by e3nn."""
    weights = {
        f"layer{k}.weight": p[f"{name}.layer{k}.weight"].reshape(sizes[k], sizes[k + 1])
        for k in range(len(sizes) - 1)
    }
    net = FullyConnectedNet(sizes, torch.nn.functional.silu)
    return torch.func.functional_call(net, weights, (x,))


def envelope(length: torch.Tensor) -> torch.Tensor:
    u = length / CUTOFF
    return (1 - 28 * u**6 + 48 * u**7 - 21 * u**8) * (u < 1)


def radial(length: torch.Tensor) -> torch.Tensor:
    numbers = torch.arange(1, 9, dtype=length.dtype)
    waves = (2 / CUTOFF) ** 0.5 * torch.sin(numbers * torch.pi * length / CUTOFF) / length
    return waves * envelope(length)


def scatter(x: torch.Tensor, index: torch.Tensor, num: int) -> torch.Tensor:
    return x.new_zeros(num, x.shape[1]).index_add(0, index, x)


def interaction(x: torch.Tensor, given: Tensors, p: Tensors) -> tuple[torch.Tensor, o3.Irreps]:
    """The sum over neighbours that tensor field networks, NequIP and MACE share."""
    harmonics = o3.Irreps.spherical_harmonics(2)
    y = o3.spherical_harmonics(harmonics, given["vectors"], True, "component")
    out, paths = every_path(NODE, str(harmonics), NODE, "uvu")
    length = given["vectors"].norm(dim=1, keepdim=True)
    weights = mlp(radial(length), "mlp", [8, 16, 4 * len(paths)], p)
    messages = product(x[given["senders"]], y, (NODE, harmonics, out), paths, weights)
    total = scatter(messages, given["receivers"], x.shape[0])
    return total * NEIGHBOURS**-0.5, out


def tensor_field_network(given: Tensors, p: Tensors) -> list[torch.Tensor]:
    x = given["x"]
    total, out = interaction(x, given, p)
    mixed = linear(total, out, NODE, p["linear.weight"])
    mixed = mixed + linear(x, NODE, NODE, p["linear_2.weight"])
    scalars, vectors = mixed[:, :4], mixed[:, 4:].reshape(-1, 4, 3)
    turned = vectors * torch.sigmoid(vectors.norm(dim=2, keepdim=True))
    return [torch.cat([scalars * torch.sigmoid(scalars.abs()), turned.flatten(1)], 1)]


def nequip(given: Tensors, p: Tensors) -> list[torch.Tensor]:
    gate = Gate("4x0e", [torch.nn.functional.silu], "4x0e", [torch.sigmoid], "4x1o")
    total, out = interaction(linear(given["x"], NODE, NODE, p["linear.weight"]), given, p)
    mixed = linear(total, out, "4x0e+4x0e+4x1o", p["linear_2.weight"])
    own = o3.FullyConnectedTensorProduct(
        NODE, "3x0e", "4x0e+4x0e+4x1o", internal_weights=False, shared_weights=True
    )
    return [gate(mixed + own(given["x"], given["species"], p["tensor_product_2.weight"]))]


def cormorant(given: Tensors, p: Tensors) -> list[torch.Tensor]:
    x, vectors = given["x"], given["vectors"]
    length = vectors.norm(dim=1, keepdim=True)
    y = o3.spherical_harmonics("0e+1o", vectors, True, "component")
    sent, received = x[given["senders"]], x[given["receivers"]]
    dots = product(
        sent, received, (NODE, NODE, "4x0e+4x0e"), [(0, 0, 0, "uuu", True), (1, 1, 1, "uuu", True)]
    )
    pairs = linear(
        torch.cat([dots, radial(length)], 1), "4x0e+4x0e+8x0e", "4x0e+4x0e", p["linear.weight"]
    )
    pairs = pairs * envelope(length)
    filters = torch.cat(
        [pairs[:, :4], torch.einsum("eu,ei->eui", pairs[:, 4:], y[:, 1:]).flatten(1)], 1
    )
    out, paths = every_path(NODE, NODE, NODE, "uuu")
    messages = scatter(
        product(sent, filters, (NODE, NODE, out), paths), given["receivers"], x.shape[0]
    )
    squares = product(x, x, (NODE, NODE, out), paths)
    whole = torch.cat([x, squares, messages], 1)
    return [linear(whole, o3.Irreps(NODE) + out + out, NODE, p["linear_2.weight"])]


def allegro(given: Tensors, p: Tensors) -> list[torch.Tensor]:
    vectors, centers, species = given["vectors"], given["receivers"], given["species"]
    length = vectors.norm(dim=1, keepdim=True)
    y = o3.spherical_harmonics("0e+1o", vectors, True, "component")
    ends = torch.cat([species[centers], species[given["senders"]], radial(length)], 1)
    latent = mlp(ends, "mlp", [14, 16, 8], p) * envelope(length)

    def embed(name: str) -> torch.Tensor:
        w = linear(latent, "8x0e", "4x0e+4x0e", p[name])
        return torch.cat([w[:, :4], torch.einsum("eu,ei->eui", w[:, 4:], y[:, 1:]).flatten(1)], 1)

    features = embed("linear.weight")
    out, paths = every_path(NODE, NODE, NODE, "uuu")
    for k in range(2):
        around = scatter(embed(f"layers.{k}.linear.weight"), centers, len(species))
        around = around[centers] * NEIGHBOURS**-0.5
        both = product(features, around, (NODE, NODE, out), paths)
        features = linear(both, out, NODE, p[f"layers.{k}.linear_2.weight"])
        update = mlp(torch.cat([latent, both[:, :8]], 1), f"layers.{k}.mlp", [16, 16, 8], p)
        latent = (latent + update * envelope(length)) * 0.5**0.5
    energies = linear(latent, "8x0e", "0e", p["linear_2.weight"])
    return [features, scatter(energies, centers, len(species))]


def by_species(given: Tensors, weights: torch.Tensor) -> torch.Tensor:
    """The weights of each node's species."""
    return given["species"] @ weights.reshape(3, -1) * 3**-0.5


def ace(given: Tensors, p: Tensors) -> list[torch.Tensor]:
    vectors, senders = given["vectors"], given["senders"]
    y = o3.spherical_harmonics("0e+1o", vectors, True, "component")
    w = mlp(radial(vectors.norm(dim=1, keepdim=True)), "mlp", [8, 16, 8], p)
    sent = by_species(given, p["linear.weight"])[senders]
    vector_part = torch.einsum("eu,ei->eui", sent * w[:, 4:], y[:, 1:]).flatten(1)
    messages = torch.cat([sent * w[:, :4], vector_part], 1)
    a = scatter(messages, given["receivers"], len(given["species"])) * NEIGHBOURS**-0.5
    out2, paths2 = every_path(NODE, NODE, NODE, "uuu")
    two = product(a, a, (NODE, NODE, out2), paths2, by_species(given, p["linear_2.weight"]))
    out3, paths3 = every_path(str(out2), NODE, NODE, "uuu")
    three = product(two, a, (out2, NODE, out3), paths3, by_species(given, p["linear_3.weight"]))
    whole = torch.cat([a, two, three], 1)
    return [linear(whole, o3.Irreps(NODE) + out2 + out3, NODE, p["linear_4.weight"])]


def mace(given: Tensors, p: Tensors) -> list[torch.Tensor]:
    x = given["x"]
    total, out = interaction(linear(x, NODE, NODE, p["linear.weight"]), given, p)
    density = linear(total, out, NODE, p["linear_2.weight"])
    contract = symmetric_reference(SymmetricContraction(IRREPS, IRREPS, 3, "row"))
    many = contract(density, by_species(given, p["linear_3.weight"]))
    own = o3.FullyConnectedTensorProduct(
        NODE, "3x0e", NODE, internal_weights=False, shared_weights=True
    )
    mixed = linear(many, NODE, NODE, p["linear_4.weight"])
    return [mixed + own(x, given["species"], p["tensor_product_2.weight"])]


LAYERS: dict[str, Callable[[Tensors, Tensors], list[torch.Tensor]]] = {
    layer.__name__: layer for layer in (tensor_field_network, nequip, cormorant, allegro, ace, mace)
}
