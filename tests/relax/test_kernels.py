import pytest

from tests.graphs import two_layers
from tvm_equi.artifact.codegen import build
from tvm_equi.graph.pipeline import DEFAULT_PIPELINE
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.relax.indices import SCHEDULED
from tvm_equi.relax.kernels import FORMS, NAME_PREFIX, Form, calls_of, kernel_function, library_name
from tvm_equi.relax.operators import CONVOLVE
from tvm_equi.runtime import convolution
from tvm_equi.runtime.plans import derivative_plan


@pytest.fixture(scope="module")
def plan() -> str:
    from tvm_equi.relax.graph import to_relax

    module = to_relax(GraphModule(DEFAULT_PIPELINE(two_layers())))
    blocks = module["main"].body.blocks
    calls = [binding.value for block in blocks for binding in block.bindings]
    found = [call for call in calls if getattr(call, "op", None) == CONVOLVE]
    return str(found[0].args[2].value)


def test_calls_are_those_of_the_runtime(plan: str) -> None:
    for text in (plan, derivative_plan(plan, (0, 1, 2), (0,))):
        for call, part in zip(
            calls_of(text, over_edges=True),
            convolution.passes(convolution.resolve(text)),
            strict=True,
        ):
            assert call.kernel == part.kernel
            assert call.outputs == part.outputs


@pytest.mark.parametrize("form", FORMS)
def test_functions_take_inputs_and_order_first(plan: str, form: Form) -> None:
    (call,) = calls_of(plan, over_edges=True)
    function = kernel_function(call, "float64", "x86-64-v3", form)
    num_outputs = len(call.outputs) + len(call.copied) + len(call.summed)
    assert len(function.params) == len(call.kernel.inputs) + 5 + num_outputs
    order = function.params[len(call.kernel.inputs) : len(call.kernel.inputs) + 5]
    assert {str(param.dtype) for param in order} == {"int64"}
    assert function.attrs[SCHEDULED]
    library = build(call.kernel, "float64", "x86-64-v3").library.read_bytes()
    assert (library_name(library) in function.script()) == (form == "packed")
    assert library_name(library).startswith(NAME_PREFIX)
