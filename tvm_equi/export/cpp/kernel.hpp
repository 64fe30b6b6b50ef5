// A compiled kernel: a function of arrays, loaded from a section of a model file. No torch in it,
// so that torch's DLPack and tvm_ffi's never meet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tvm_equi {
class Container;
}

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

  /// Runs the kernel on arrays in the order in which its plan has them. Parallel loops take as many
  /// threads as `threads` says.
  virtual void operator()(const std::vector<Array>& arrays, int threads) const = 0;
};

/// The kernel whose library is in a section.
std::shared_ptr<const Kernel> load_kernel(const Container& container, const std::string& section);

}  // namespace tvm_equi::torch_ops
