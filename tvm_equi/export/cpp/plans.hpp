// Plans by their text: what an operator takes and gives, and the kernels that it runs.
//
// In: files of kernels, which the program names, the environment names, or a loaded .pt2 has
// inside. Out: plans whose kernels are loaded. Refused, with what to do: a plan that no file has.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernel.hpp"

namespace tvm_equi::torch_ops {

/// What the leading axis of a value counts. Shared values have none.
enum class Rows { row, shared, sender, receiver };

struct Operand {
  int64_t columns;
  Rows rows;
};

/// One run of a kernel.
struct Pass {
  std::shared_ptr<const Kernel> kernel;
  Rows order;                    // of the edges
  std::vector<int64_t> outputs;  // numbers of those that it computes
  std::vector<int64_t> copied;   // numbers of the inputs that it needs room for a copy of
  std::vector<int64_t> summed;   // columns of each sum over nodes that tasks share
};

struct Plan {
  std::vector<Operand> inputs, outputs;
  std::vector<Pass> passes;
};

/// The plan of an operator ("run" or "convolve") for values of a dtype. It stays valid for good.
const Plan& find_plan(std::string_view operation, std::string_view text, DType dtype);

/// The text of a derivative: to the inputs `wrt`, from gradients to the outputs `of`.
std::string derivative_text(std::string_view text, const std::vector<int64_t>& wrt,
                            const std::vector<int64_t>& of);

/// Whether some file has a plan.
bool has_plan(std::string_view operation, std::string_view text, DType dtype);

/// Adds the kernels of a file.
void load_file(const std::string& path);

}  // namespace tvm_equi::torch_ops
