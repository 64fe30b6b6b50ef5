"""`accelerate`: the same numbers and state, kernels in place of modules, words about the rest."""

import copy
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from e3nn.nn.models.v2106.points_convolution import Convolution
from torch.utils._python_dispatch import TorchDispatchMode

import tvm_equi
from tests.models.networks import (
    FEATURES,
    HARMONICS,
    MIDDLE,
    Layer,
    Network,
    assert_close,
    edges_of_layer,
    inputs,
    training_step,
)
from tvm_equi import nn
from tvm_equi.errors import ArgumentTypeError, ArtifactError
from tvm_equi.models import accelerate as module_under_test
from tvm_equi.models import e3nn as e3nn_rules
from tvm_equi.models.change import Change
from tvm_equi.models.state import share_state
from tvm_equi.runtime import topology_cache


class Shapes(TorchDispatchMode):
    """Notes the shapes of all tensors that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(out):
            if isinstance(value, torch.Tensor):
                self.shapes.add(tuple(value.shape))
        return out


def accelerated(model: torch.nn.Module, **options: Any) -> Any:
    return tvm_equi.accelerate(model, quiet=True, **options)


def test_training_on_forces_is_the_same() -> None:
    model = Network()
    wanted = training_step(model, inputs())
    assert accelerated(model) is model
    assert_close(training_step(model, inputs()), wanted)
    report = model.tvm_equi_report
    assert {entry.path for entry in report.of("fused")} == {"layers.0.tp", "layers.1.tp"}
    assert "layers.1.gate" in {entry.path for entry in report.of("swapped")}
    assert report.error < 1e-12


def test_training_on_forces_in_float32() -> None:
    torch.set_default_dtype(torch.float32)
    model = Network(1)
    wanted = training_step(copy.deepcopy(model).double(), inputs())
    accelerated(model)
    got = training_step(model, inputs(dtype=torch.float32))
    assert_close({name: value.double() for name, value in got.items()}, wanted, 1e-4)
    assert model.tvm_equi_report.error > 1e-12


def test_state_is_shared() -> None:
    model = Network(1)
    parameters, state = dict(model.named_parameters()), model.state_dict()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    old = copy.deepcopy(state)
    accelerated(model)
    assert list(model.state_dict()) == list(state)
    for name, value in model.state_dict().items():
        assert value.data_ptr() == state[name].data_ptr()
    for name, parameter in model.named_parameters():
        assert parameter is parameters[name]
    training_before = training_step(model, inputs())
    model(*inputs()).backward()
    optimizer.step()
    assert not torch.allclose(model(*inputs()), training_before["energy"])
    model.load_state_dict(old)
    assert_close(training_step(model, inputs()), training_before)
    fresh = Network(1)
    fresh.load_state_dict(model.state_dict())
    assert_close(training_step(fresh, inputs()), training_before)


def test_equivariance() -> None:
    model = accelerated(Network(1))
    positions, *others = inputs()
    turn = o3.rand_matrix()
    here, there = positions.clone().requires_grad_(), (-positions @ turn.T).requires_grad_()
    energies = model(here, *others), model(there, *others)
    torch.testing.assert_close(*energies, rtol=1e-11, atol=1e-11)
    pairs = zip(energies, (here, there), strict=True)
    forces = [torch.autograd.grad(energy.sum(), p)[0] for energy, p in pairs]
    torch.testing.assert_close(-forces[0] @ turn.T, forces[1], rtol=1e-10, atol=1e-10)


def test_no_value_of_an_edge_exists() -> None:
    layer = Layer()
    given = edges_of_layer()
    arguments = [given[name] for name in ("x", "y", "radial", "edge_index")]
    num_edges = given["edge_index"].shape[1]
    columns = {o3.Irreps(MIDDLE).dim, o3.Irreps(FEATURES).dim}
    with Shapes() as before, torch.no_grad():
        wanted = layer(*arguments)
    accelerated(layer)
    with Shapes() as after, torch.no_grad():
        got = layer(*arguments)
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)
    assert {(num_edges, size) for size in columns} <= before.shapes
    assert not {(num_edges, size) for size in columns} & after.shapes


def test_layers_share_a_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = topology_cache.Topology
    monkeypatch.setattr(
        topology_cache, "Topology", lambda *given: made.append(1) or original(*given)
    )
    model = accelerated(Network(2))
    made.clear()
    model(*inputs())
    assert len(made) == 1


def test_casts_follow() -> None:
    torch.set_default_dtype(torch.float32)
    model = accelerated(Network(1))
    arguments = inputs()
    wanted = model(*(a.float() if a.is_floating_point() else a for a in arguments))
    got = model.double()(*arguments)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got.float(), wanted, rtol=1e-4, atol=1e-4)


def test_copies_and_saved_models_are_fused_too() -> None:
    model = accelerated(Network(1))
    wanted = training_step(model, inputs())
    copied = copy.deepcopy(model)
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    with torch.no_grad():
        model.embed.weight.zero_()
    for other in (copied, loaded):
        assert_close(training_step(other, inputs()), wanted)
        assert "forward" in vars(other.layers[0])
        assert other.layers[0].tp is not model.layers[0].tp


def test_shared_modules_stay_shared() -> None:
    model = torch.nn.Module()
    model.first = o3.Linear(FEATURES, FEATURES)
    model.second = model.first
    model.inside = torch.nn.ModuleList([model.first])
    accelerated(model)
    assert isinstance(model.first, nn.Linear)
    assert model.first is model.second is model.inside[0]
    assert [entry.path for entry in model.tvm_equi_report.entries] == ["first"]


def test_a_model_that_is_a_module_of_e3nn() -> None:
    layer = o3.Linear(FEATURES, FEATURES)
    new = accelerated(layer)
    assert isinstance(new, nn.Linear)
    assert new.weight is layer.weight


def test_again_changes_nothing() -> None:
    model = accelerated(Network(1))
    forward = model.layers[0].forward
    accelerated(model)
    assert model.layers[0].forward is forward
    assert {entry.kind for entry in model.tvm_equi_report.entries} == {"FullyConnectedNet"}


def test_hooks_are_called() -> None:
    layer = Layer()
    seen: list[str] = []
    layer.mix.register_forward_hook(lambda *_: seen.append("mix"))
    handle = layer.skip.register_forward_pre_hook(lambda *_: seen.append("skip"))
    layer.register_forward_hook(lambda *_: seen.append("layer"))
    accelerated(layer)
    given = edges_of_layer()
    arguments = [given[name] for name in ("x", "y", "radial", "edge_index")]
    layer(*arguments)
    assert seen == ["mix", "skip", "layer"]
    handle.remove()
    layer(*arguments)
    assert seen[3:] == ["mix", "layer"]


def test_a_product_with_hooks_is_not_fused() -> None:
    layer = Layer()
    seen: list[str] = []
    layer.tp.register_forward_hook(lambda *_: seen.append("tp"))
    accelerated(layer)
    given = edges_of_layer()
    layer(*(given[name] for name in ("x", "y", "radial", "edge_index")))
    assert seen == ["tp"]
    assert layer.tvm_equi_report.of("fused") == ()


def test_fusing_can_be_declined() -> None:
    model = accelerated(Network(1), fuse=False)
    assert model.tvm_equi_report.of("fused") == ()
    assert isinstance(model.layers[0].tp, nn.TensorProduct)
    assert "forward" not in vars(model.layers[0])


@contextmanager
def _rule(rule: Any) -> Iterator[None]:
    before = e3nn_rules.RULES
    e3nn_rules.RULES = (rule, *before)
    try:
        yield
    finally:
        e3nn_rules.RULES = before


class Heavy(nn.Linear):
    """Too large by a thousandth."""

    def forward(self, *given: Any) -> torch.Tensor:
        return super().forward(*given) * 1.001


def wrong(module: torch.nn.Module) -> Change | None:
    """Swaps one linear layer for a wrong one."""
    if not isinstance(module, o3.Linear) or str(module.irreps_out) != "1x0e":
        return None
    new = Heavy.from_e3nn(module)
    share_state(new, module)
    return Change(new, "swapped", "wrong")


def test_a_wrong_module_is_refused_and_the_model_left_as_it_was() -> None:
    model = Network(1)
    wanted = training_step(model, inputs())
    classes = {path: type(module) for path, module in model.named_modules()}
    message = r"accelerate: readout: expected output 0 within 1e-10 of the original's, got a rela"
    with _rule(wrong), pytest.raises(ArtifactError, match=message):
        accelerated(model)
    assert {path: type(module) for path, module in model.named_modules()} == classes
    assert not hasattr(model, "tvm_equi_report")
    assert "forward" not in vars(model.layers[0])
    assert_close(training_step(model, inputs()), wanted, 0.0)


def test_a_wrong_module_goes_unseen_without_check() -> None:
    model = Network(1)
    with _rule(wrong):
        accelerated(model, check=False)
    assert "not compared with the originals" in model.tvm_equi_report.summary


def test_random_numbers_of_the_user_are_left_alone() -> None:
    model = Network(1)
    before = torch.get_rng_state()
    accelerated(model)
    assert torch.equal(before, torch.get_rng_state())


def test_what_a_rule_of_an_adapter_fused_is_not_traced() -> None:
    model = torch.nn.ModuleList([Untraceable()])

    def known(module: torch.nn.Module) -> Change | None:
        return (
            Change(module, "fused", "by its hook", False) if type(module) is Untraceable else None
        )

    with _rule(known):
        accelerated(model)
    found = {entry.path: entry for entry in model.tvm_equi_report.entries}
    assert found["0"].note == "by its hook"
    assert found["0.tp"].status == "swapped"
    assert not [entry for entry in model.tvm_equi_report.of("left") if "forward" in entry.note]


def test_half_precision_is_not_compared() -> None:
    model = accelerated(torch.nn.Sequential(o3.Linear(FEATURES, FEATURES)).half())
    assert isinstance(model[0], nn.Linear)
    assert model.tvm_equi_report.entries[0].note == "not compared"


def test_no_model() -> None:
    message = "accelerate: model: expected a torch.nn.Module, got str"
    with pytest.raises(ArgumentTypeError, match=re.escape(message)):
        tvm_equi.accelerate("model")  # type: ignore[type-var]


def test_report_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    model = torch.nn.Sequential(o3.Linear(FEATURES, FEATURES), e3nn_nn.Dropout(FEATURES, 0.5))
    tvm_equi.accelerate(model)
    printed = capsys.readouterr().out
    assert printed.count("tvm_equi.accelerate: 1 swapped, 0 fused, 1 left") == 1
    assert "random numbers" in printed
    tvm_equi.accelerate(Network(1), quiet=True)
    assert capsys.readouterr().out == ""


def test_adapters_are_looked_up_only_where_their_package_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(module_under_test.ADAPTERS, "no_such_package", "tvm_equi.no_such_module")
    names = [rule.__module__ for rule in module_under_test.rules()]
    assert names[-1] == "tvm_equi.models.e3nn"
    loaded = {
        name for package, name in module_under_test.ADAPTERS.items() if package in sys.modules
    }
    assert set(names) <= loaded
    monkeypatch.setitem(sys.modules, "no_such_package", torch)
    assert [rule.__module__ for rule in module_under_test.rules()] == names


class Untraceable(Layer):
    """Asks what a trace cannot know."""

    def forward(
        self, x: torch.Tensor, y: torch.Tensor, radial: torch.Tensor, edge_index: torch.Tensor
    ) -> torch.Tensor:
        if int(edge_index.max()) > 10**6:
            return x
        messages = self.tp(x[edge_index[0]], y, self.fc(radial))
        total = messages.new_zeros((x.shape[0], messages.shape[1]))
        mixed: torch.Tensor = self.mix(total.index_add_(0, edge_index[1], messages))
        return mixed


def test_what_cannot_be_traced_is_swapped_and_said() -> None:
    layer = Untraceable()
    given = edges_of_layer()
    arguments = [given[name] for name in ("x", "y", "radial", "edge_index")]
    wanted = layer(*arguments)
    accelerated(layer)
    assert isinstance(layer.tp, nn.TensorProduct)
    torch.testing.assert_close(layer(*arguments), wanted, rtol=1e-11, atol=1e-11)
    (left,) = [entry for entry in layer.tvm_equi_report.of("left") if entry.path == ""]
    assert left.note.startswith("forward not fused: torch.fx cannot trace its forward: ")


def test_convolution_of_e3nn_is_fused() -> None:
    layer = Convolution(FEATURES, "0e", HARMONICS, FEATURES, [3, 4], 2.0)
    torch.nn.init.normal_(layer.alpha.weight)
    given = edges_of_layer()
    arguments = (
        given["x"],
        torch.ones(5, 1),
        given["edge_index"][0],
        given["edge_index"][1],
        given["y"],
        given["radial"],
    )
    wanted = layer(*arguments)
    accelerated(layer)
    assert [entry.path for entry in layer.tvm_equi_report.of("fused")] == ["tp"]
    torch.testing.assert_close(layer(*arguments), wanted, rtol=1e-11, atol=1e-11)


def test_torch_compile_takes_the_accelerated_model() -> None:
    model = accelerated(Network(1))
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=True)
    for num_nodes in (5, 6):
        arguments = inputs(num_nodes)
        torch.testing.assert_close(compiled(*arguments), model(*arguments), rtol=1e-12, atol=1e-12)


def test_internal_weights_are_fused_and_follow_the_parameter() -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tp = o3.FullyConnectedTensorProduct("2x1o", "1o", "2x1e + 0e")

        def forward(
            self, x: torch.Tensor, y: torch.Tensor, edge_index: torch.Tensor
        ) -> torch.Tensor:
            messages = self.tp(x[edge_index[0]], y)
            return torch.zeros(x.shape[0], 7).index_add(0, edge_index[1], messages)

    layer = Shared()
    edge_index = inputs()[2]
    x, y = torch.randn(5, 6), torch.randn(edge_index.shape[1], 3)
    reference = copy.deepcopy(layer)
    accelerated(layer)
    assert layer.tvm_equi_report.of("fused")
    for _ in range(2):
        torch.testing.assert_close(
            layer(x, y, edge_index), reference(x, y, edge_index), rtol=1e-11, atol=1e-11
        )
        with torch.no_grad():
            for model in (layer, reference):
                model.tp.weight.mul_(2.0)
