"""`torch.compile(model, backend="tvm_equi")`: e3nn's modules in a model on compiled kernels."""

from tvm_equi.dynamo.backend import tvm_equi as backend
from tvm_equi.dynamo.report import Report, reports

__all__ = ["Report", "backend", "reports"]
