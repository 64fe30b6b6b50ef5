import torch
import tvm
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from tests.graphs import two_layers
from tvm_equi.export.capture import capture_graph
from tvm_equi.graph.pipeline import DEFAULT_PIPELINE
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.relax import CONVERT_MAP, LowerTensorProducts, pass_context
from tvm_equi.relax.converters.table import CONVERTERS
from tvm_equi.relax.lower import kernels_in
from tvm_equi.relax.translate import translate


def test_all_operators_of_the_package_have_converters() -> None:
    names = [name for name in CONVERTERS if name.startswith("tvm_equi.")]
    assert sorted(names) == [f"tvm_equi.{n}.default" for n in ("convolve", "run", "sort_edges")]


def test_tvm_imports_a_model_that_holds_a_kernel() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.SiLU(), Product())
    x = torch.randn(6, 12)
    with torch.no_grad():
        program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
        wanted = model(x)
    module = from_exported_program(program, custom_convert_map=CONVERT_MAP)
    assert len(kernels_in(module)) == 1
    lowered = LowerTensorProducts(kernels="call_tir")(module)
    with pass_context():
        executable = relax.build(lowered, tvm.target.Target("llvm"))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    found = torch.from_dlpack(machine["main"](x)[0])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


class Product(torch.nn.Module):
    """Squares of features."""

    def __init__(self) -> None:
        super().__init__()
        paths = [(0, 0, 0, "uvu", True)]
        self.product = TensorProduct("8x0e", "8x0e", "8x0e", paths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.product(x, x)
        return found


def test_a_graph_has_its_edges_sorted_once_for_all_layers() -> None:
    module = GraphModule(DEFAULT_PIPELINE(two_layers()))
    text = translate(capture_graph(module, {"g": ("energy", "x")})).module.script()
    assert text.count("R.tvm_equi.sort_edges") == 2
    assert text.count("R.tvm_equi.convolve") == 4
