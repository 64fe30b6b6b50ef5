"""From a Relax module to an executable of the virtual machine.

In: a module, with or without operators of this package. Out: TVM's executable. The passes are those
of TVM's pipeline for CPUs, with this package's lowering before, and a schedule for what lies
between kernels. `import tvm_equi.relax` registers them as the pipeline "tvm_equi".
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.backend.cpu_generic import pipeline as cpu

from tvm_equi.artifact import checks
from tvm_equi.artifact.codegen import DISABLED_PASSES, PASS_CONFIG
from tvm_equi.relax.buckets import RoundMemory
from tvm_equi.relax.concat import legalize_concat
from tvm_equi.relax.functions import LEGALIZATIONS
from tvm_equi.relax.glue import ScheduleGlue
from tvm_equi.relax.kernels import Form
from tvm_equi.relax.lower import LowerTensorProducts
from tvm_equi.relax.shape_functions import SortShapeFunctions
from tvm_equi.schedule.targets import HOST

PIPELINE = "tvm_equi"
"""Its name in TVM."""


def passes(kernels: Form = "call_tir", target: str = HOST) -> list[Any]:
    """The passes from a module to one that the virtual machine's code generator takes.

    Args:
        kernels: how kernels are held; see `LowerTensorProducts`.
        target: "host" or an x86-64 level.
    """
    tvm_target = tvm.target.Target("llvm")
    return [
        LowerTensorProducts(kernels=kernels, target=target),
        relax.transform.CanonicalizeBindings(),
        relax.transform.EliminateCommonSubexpr(),
        relax.transform.DeadCodeElimination(),
        *cpu.library_dispatch_passes(tvm_target),
        relax.transform.LegalizeOps({"relax.concat": legalize_concat, **LEGALIZATIONS}),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        ScheduleGlue(),
        *cpu.dataflow_lower_passes(tvm_target),
        *_finalize(tvm_target),
        SortShapeFunctions(),
    ]


def _finalize(target: Any) -> list[Any]:
    """TVM's last passes, with rounded sizes of memory once it is clear what is allocated."""
    found = []
    for each in cpu.finalize_passes(target):
        found.append(each)
        if each.info.name == "LowerAllocTensor":
            found.append(RoundMemory())
    return found


@relax.register_pipeline(PIPELINE)  # type: ignore[untyped-decorator]
def pipeline(kernels: Form = "call_tir", target: str = HOST) -> Any:
    """The passes as one.

    Args:
        kernels: how kernels are held; see `LowerTensorProducts`.
        target: "host" or an x86-64 level.
    """
    return tvm.transform.Sequential(passes(kernels, target), name=PIPELINE)


def pass_context() -> Any:
    """The settings under which kernels in the form of TensorIR are built.

    TVM's default would merge registers of vectors with arrays of scalars, and refuses the result.
    """
    return tvm.transform.PassContext(config=PASS_CONFIG, disabled_pass=DISABLED_PASSES)


def build(module: Any, tvm_target: Any, kernels: Form = "call_tir", target: str = HOST) -> Any:
    """TVM's executable of a module, with the settings that kernels need.

    Args:
        module: with function `main`.
        tvm_target: of the code.
        kernels: how kernels are held; see `LowerTensorProducts`.
        target: "host" or an x86-64 level.
    """
    with pass_context():
        return relax.build(
            module,
            tvm_target,
            relax_pipeline=pipeline(kernels, target),
            tir_pipeline=checks.pipeline(),
        )
