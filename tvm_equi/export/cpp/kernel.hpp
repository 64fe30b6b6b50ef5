// A compiled kernel: a function of arrays, from the bytes of its library. No torch in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tvm_equi::torch_ops {

enum class DType { float32, float64, int64 };

/// A contiguous array in the memory of the CPU.
struct Array {
  void* data;
  std::vector<int64_t> shape;
  DType dtype;
};

class Kernel {
 public:
  virtual ~Kernel() = default;

  /// Runs the kernel on arrays in the order in which its plan has them. Parallel loops use as many
  /// threads as `threads` says.
  virtual void operator()(const std::vector<Array>& arrays, int threads) const = 0;
};

/// The kernel of a library. `where` names it in errors.
std::shared_ptr<const Kernel> load_kernel(const std::string& where, std::string_view library);

}  // namespace tvm_equi::torch_ops
