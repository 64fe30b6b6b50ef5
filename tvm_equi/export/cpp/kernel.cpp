#include "kernel.hpp"

#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <mutex>
#include <thread>
#include <tvm_equi/library.hpp>
#include <tvm_equi/runtime.hpp>

namespace tvm_equi::torch_ops {

namespace {

namespace ffi = tvm::ffi;

/// No loop takes more threads than this: a pool of workers never grows.
int most_threads() {
  static const int most = std::max(int(std::thread::hardware_concurrency()), 1);
  return most;
}

DLDataType dl_dtype(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return {kDLFloat, 32, 1};
    case DType::float64:
      return {kDLFloat, 64, 1};
    default:
      return {kDLInt, 64, 1};
  }
}

class CompiledKernel : public Kernel {
 public:
  CompiledKernel(std::string where, ffi::Function function)
      : where_(std::move(where)), function_(std::move(function)) {}

  void operator()(const std::vector<Array>& arrays, int threads) const override {
    std::vector<DLTensor> tensors(arrays.size());
    std::vector<ffi::AnyView> arguments(arrays.size());
    for (size_t i = 0; i < arrays.size(); ++i) {
      const Array& array = arrays[i];
      tensors[i] = {array.data,
                    {kDLCPU, 0},
                    int32_t(array.shape.size()),
                    dl_dtype(array.dtype),
                    const_cast<int64_t*>(array.shape.data()),
                    nullptr,
                    0};
      arguments[i] = &tensors[i];
    }
    detail::with_context(where_, [&] {
      detail::Threads::use(where_, std::min(threads, most_threads()));
      ffi::Any result;
      function_.CallPacked(arguments.data(), int32_t(arguments.size()), &result);
    });
  }

 private:
  std::string where_;
  ffi::Function function_;
};

}  // namespace

std::shared_ptr<const Kernel> load_kernel(const Container& container, const std::string& section) {
  std::lock_guard<std::mutex> lock(detail::load_mutex());
  load_runtime();
  detail::Threads::expect(most_threads());
  return std::make_shared<CompiledKernel>(container.where() + ": " + section,
                                          LibraryLoader(container).kernel(section));
}

}  // namespace tvm_equi::torch_ops
