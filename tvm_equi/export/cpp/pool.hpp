// Memory of large results, used again: a fresh block of tens of megabytes comes from the system
// page by page, which costs several times what a kernel does. The same as
// `tvm_equi/runtime/pool.py`.
#pragma once

#include <ATen/core/Tensor.h>

namespace tvm_equi::torch_ops {

/// An uninitialised contiguous tensor on the CPU. Storages of past results serve when their last
/// tensor is gone; TVM_EQUI_POOL_BYTES bounds what lies idle, 0 turns that off.
at::Tensor new_result(at::IntArrayRef shape, const at::TensorOptions& options);

}  // namespace tvm_equi::torch_ops
