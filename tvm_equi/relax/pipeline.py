"""From a Relax module without operators of this package to an executable of the virtual machine.

In: a module that `LowerTensorProducts` has lowered. Out: TVM's executable.
"""

from __future__ import annotations

from typing import Any

from tvm import relax


def build_module(module: Any, target: Any) -> Any:
    """TVM's executable of a module.

    Args:
        module: without operators of this package.
        target: of TVM.
    """
    return relax.build(module, target, relax_pipeline=relax.get_default_pipeline(target))
