"""`torch.compile(model, backend="tvm_equi")`: e3nn's modules in a model on compiled kernels."""

from tvm_equi.dynamo.entry import backend
from tvm_equi.dynamo.report import Report, reports

__all__ = ["Report", "backend", "reports"]
