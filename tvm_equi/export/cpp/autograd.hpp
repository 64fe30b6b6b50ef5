// The operators in sight of autograd: their derivatives are the same operators on derivatives'
// plans.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

namespace tvm_equi::torch_ops {

std::vector<at::Tensor> run_autograd(at::TensorList inputs, std::string_view plan);

std::vector<at::Tensor> convolve_autograd(at::TensorList inputs, at::TensorList topology,
                                          std::string_view plan);

}  // namespace tvm_equi::torch_ops
