"""What the modifier promises beside numbers: packages, traces, compiled training, no edges."""

import copy
import io
from functools import partial
from typing import Any

import pytest
import torch
from nequip.data import AtomicDataDict
from nequip.model.modify_utils import get_all_modifiers, modify
from nequip.nn.compile import ListInputOutputWrapper
from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
from nequip.scripts._package_utils import _EXTERNAL_MODULES, _INTERNAL_MODULES, _MOCK_MODULES
from nequip.utils.fx import nequip_make_fx
from nequip.utils.unittests.utils import compare_output_and_gradients

from tests.models.nequip.test_nequip_model import accelerated, build, results
from tests.models.nequip.vendor.nequip_model import minimal_config1, minimal_config2
from tests.nn.conv_reference import largest_error
from tvm_equi.models.nequip import MODIFIER, RULES, SCATTER, CompiledScatter, accelerate_scatters

ENERGY, FORCES = AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY


@pytest.fixture
def config() -> dict[str, Any]:
    return {**copy.deepcopy(minimal_config1), "model_dtype": "float64"}


@pytest.fixture
def reference(config: dict[str, Any]) -> torch.nn.Module:
    return build(config)


def convolutions(model: torch.nn.Module) -> list[CompiledScatter]:
    return [module for module in model.modules() if isinstance(module, CompiledScatter)]


def test_the_modifier_says_what_it_supports(reference: torch.nn.Module) -> None:
    modifier = get_all_modifiers(reference)[MODIFIER]
    assert modifier.__doc__
    facts = {key: value for key, value in vars(modifier.__func__).items() if "nequip" in key}
    assert facts == {
        "_nequip_model_modifier_is_persistent": False,
        "_nequip_model_modifier_is_private": False,
        "_nequip_model_modifier_unsupported_devices": [],
        "_nequip_model_modifier_supported_compile_modes": ["aotinductor"],
    }


def test_twice_is_once(reference: torch.nn.Module) -> None:
    modify(reference, [{"modifier": MODIFIER}])
    before = convolutions(reference)
    accelerate_scatters(reference)
    assert convolutions(reference) == before


def test_rule(reference: torch.nn.Module) -> None:
    (rule,) = RULES
    changes = [rule(module) for module in reference.modules() if SCATTER.has(module)]
    assert [change.status for change in changes if change is not None] == ["fused", "fused"]


def test_a_packaged_model(reference: torch.nn.Module, atomic_batch: Any) -> None:
    """Its classes are others than those of the installed nequip and e3nn."""
    file = io.BytesIO()
    with torch.package.PackageExporter(file) as exporter:
        for register, names in (
            (exporter.mock, _MOCK_MODULES),
            (exporter.extern, _EXTERNAL_MODULES),
            (exporter.intern, _INTERNAL_MODULES),
        ):
            register([f"{name}.**" for name in names])
        exporter.save_pickle("model", "model.pkl", reference)
    file.seek(0)
    packaged = torch.package.PackageImporter(file).load_pickle("model", "model.pkl")
    assert type(packaged) is not type(reference)
    assert MODIFIER in get_all_modifiers(packaged)
    modify(packaged, [{"modifier": MODIFIER}])
    assert len(convolutions(packaged)) == 2
    assert largest_error(results(packaged, atomic_batch), results(reference, atomic_batch)) < 1e-10


def test_no_edges(reference: torch.nn.Module, config: dict[str, Any], atomic_batch: Any) -> None:
    """Atoms that are far apart; numbers and gradients are those of the unmodified model."""
    data = {key: value.clone() for key, value in atomic_batch.items()}
    for key in (AtomicDataDict.EDGE_INDEX_KEY, AtomicDataDict.EDGE_CELL_SHIFT_KEY):
        data[key] = data[key][..., :0] if key == AtomicDataDict.EDGE_INDEX_KEY else data[key][:0]
    model = build(accelerated(config))
    found, wanted = (results(part, data) for part in (model, reference))
    assert largest_error(found, wanted) < 1e-10


def test_layers_share_the_order_of_edges_in_a_trace(atomic_batch: Any) -> None:
    """As `nequip-compile` traces it, forces included; other batches run on the same graph."""
    config = {**copy.deepcopy(minimal_config2), "model_dtype": "float64"}
    model = build(accelerated(config)).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    fields, outputs = COMPILE_TARGET_DICT["batch"]["input"], [ENERGY, FORCES]
    wrapped = ListInputOutputWrapper(model, fields, outputs)
    frame = AtomicDataDict.frame_from_batched(atomic_batch, 0)
    larger = AtomicDataDict.batched_from_list([atomic_batch, frame])
    graph = nequip_make_fx(wrapped, {key: atomic_batch[key] for key in fields}, fields)
    targets = [str(node.target) for node in graph.graph.nodes]
    assert sum("sort_edges" in target for target in targets) == 2
    assert sum("convolve" in target for target in targets) == 6  # 3 layers, there and back
    for data in (atomic_batch, larger):
        given = [data[key] for key in fields]
        assert largest_error(graph(*given), wrapped(*given)) < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_train_time_compile(dtype: str, monkeypatch: pytest.MonkeyPatch, atomic_batch: Any) -> None:
    """nequip's test of it, which it skips on the CPU; all of the stack but inductor's code."""
    config = {**copy.deepcopy(minimal_config2), "model_dtype": "float64"}
    config |= {"num_layers": 2, "l_max": 1}
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    reference = build(config)
    compiled = build(accelerated({**config, "compile_mode": "compile"}))
    compiled.load_state_dict(reference.state_dict())
    compare_output_and_gradients(reference, compiled, atomic_batch, 1e-12)
    found, wanted = (results(part, atomic_batch) for part in (compiled, reference))
    assert largest_error(found, wanted) < 1e-12
