// The operators on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

#include "plans.hpp"

namespace tvm_equi::torch_ops {

std::vector<at::Tensor> run(at::TensorList inputs, std::string_view plan);

std::vector<at::Tensor> convolve(at::TensorList inputs, at::TensorList topology,
                                 std::string_view plan);

std::vector<at::Tensor> sort_edges(const at::Tensor& edge_index, int64_t side, int64_t num_senders,
                                   int64_t num_receivers);

/// The dtype of the first input, after it was checked that all have it and are on the CPU.
DType common_dtype(const char* where, at::TensorList inputs);

/// A contiguous tensor as a kernel takes it.
Array as_array(const at::Tensor& tensor);

/// How many threads a call that touches some numbers should use.
int threads_for(int64_t elements);

}  // namespace tvm_equi::torch_ops
