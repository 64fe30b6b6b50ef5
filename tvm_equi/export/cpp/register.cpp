// Registers the operators when the library is loaded, unless Python's tvm_equi has done so already:
// in such a process its own implementations serve.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <string>
#include <tvm_equi/error.hpp>

#include "autograd.hpp"
#include "cpu.hpp"
#include "tvm_equi_torch.h"

namespace tvm_equi::torch_ops {

namespace {

using Tensors = std::vector<at::Tensor>;

/// Has torch report our errors as its own.
template <typename F>
Tensors reported(F&& function) {
  try {
    return function();
  } catch (const tvm_equi::Error& error) {
    TORCH_CHECK(false, error.what());
  }
}

std::string_view view(c10::string_view text) { return {text.data(), text.size()}; }

Tensors run_cpu(at::TensorList inputs, c10::string_view plan) {
  return reported([&] { return run(inputs, view(plan)); });
}

Tensors convolve_cpu(at::TensorList inputs, at::TensorList topology, c10::string_view plan) {
  return reported([&] { return convolve(inputs, topology, view(plan)); });
}

Tensors run_differentiable(at::TensorList inputs, c10::string_view plan) {
  return reported([&] { return run_autograd(inputs, view(plan)); });
}

Tensors convolve_differentiable(at::TensorList inputs, at::TensorList topology,
                                c10::string_view plan) {
  return reported([&] { return convolve_autograd(inputs, topology, view(plan)); });
}

[[noreturn]] void refuse_gpu(const char* name) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "tvm_equi::", name,
      ": expected tensors on the CPU, got ones on a GPU, for which this "
      "library has no kernels; compile the model for the CPU, or run it in Python, where tvm_equi "
      "has some");
}

Tensors run_gpu(at::TensorList, c10::string_view) { refuse_gpu("run"); }
Tensors convolve_gpu(at::TensorList, at::TensorList, c10::string_view) { refuse_gpu("convolve"); }
Tensors sort_gpu(const at::Tensor&, int64_t, int64_t, int64_t) { refuse_gpu("sort_edges"); }

torch::Library library(torch::Library::Kind kind, std::optional<c10::DispatchKey> key = {}) {
  return torch::Library(kind, "tvm_equi", key, __FILE__, __LINE__);
}

/// What keeps the operators registered.
struct Registration {
  torch::Library schemas = library(torch::Library::FRAGMENT);
  torch::Library cpu = library(torch::Library::IMPL, c10::DispatchKey::CPU);
  torch::Library gpu = library(torch::Library::IMPL, c10::DispatchKey::CUDA);
  torch::Library autograd = library(torch::Library::IMPL, c10::DispatchKey::Autograd);

  Registration() {
    schemas.def("run(Tensor[] inputs, str plan) -> Tensor[]");
    schemas.def("convolve(Tensor[] inputs, Tensor[] topology, str plan) -> Tensor[]");
    schemas.def(
        "sort_edges(Tensor edge_index, int side, SymInt num_senders, SymInt num_receivers) -> "
        "Tensor[]");
    cpu.impl("run", run_cpu);
    cpu.impl("convolve", convolve_cpu);
    cpu.impl("sort_edges", sort_edges);
    gpu.impl("run", run_gpu);
    gpu.impl("convolve", convolve_gpu);
    gpu.impl("sort_edges", sort_gpu);
    autograd.impl("run", run_differentiable);
    autograd.impl("convolve", convolve_differentiable);
  }
};

bool is_registered() {
  return c10::Dispatcher::singleton().findSchema({"tvm_equi::run", ""}).has_value();
}

/// Never destroyed: models of static storage may run when the process ends.
[[maybe_unused]] const Registration* const registration =
    is_registered() ? nullptr : new Registration;

}  // namespace

}  // namespace tvm_equi::torch_ops

extern "C" __attribute__((visibility("default"))) const char* tvm_equi_load_kernels(
    const char* path) {
  thread_local std::string message;
  try {
    if (path == nullptr) tvm_equi::detail::refuse("load: path", "a text", "NULL");
    tvm_equi::torch_ops::load_file(path);
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}
