// `tvm_equi::run`: a kernel on rows that have nothing to do with one another.
#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "cpu.hpp"
#include "pool.hpp"

namespace tvm_equi::torch_ops {

namespace {

// Waking other threads costs several microseconds.
constexpr int64_t kSerialElements = 1 << 15;

// Sums over rows are split into chunks, whose number depends on the number of rows alone, so that a
// result does not depend on the number of threads.
constexpr int64_t kRowsPerChunk = 128, kMaxChunks = 64;

int64_t num_chunks(int64_t rows) {
  int64_t chunks = 1;
  while (chunks < kMaxChunks && chunks * 2 * kRowsPerChunk <= rows) chunks *= 2;
  return chunks;
}

/// The number of rows, 0 where no input has rows.
int64_t num_rows(const Plan& plan, at::TensorList inputs) {
  int64_t rows = -1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool has_rows = plan.inputs[i].rows != Rows::shared;
    const int64_t columns = plan.inputs[i].columns;
    TORCH_CHECK_VALUE(inputs[i].dim() == 1 + has_rows && inputs[i].size(-1) == columns,
                      "tvm_equi::run: inputs[", i, "]: expected shape ", has_rows ? "[rows, " : "[",
                      columns, "], got ", inputs[i].sizes());
    if (!has_rows) continue;
    if (rows < 0) rows = inputs[i].size(0);
    TORCH_CHECK_VALUE(inputs[i].size(0) == rows, "tvm_equi::run: inputs[", i, "]: expected ", rows,
                      " rows like the others, got ", inputs[i].size(0));
  }
  return std::max<int64_t>(rows, 0);
}

}  // namespace

DType common_dtype(const char* where, at::TensorList inputs) {
  TORCH_CHECK_VALUE(!inputs.empty(), where, ": inputs: expected one or more tensors, got none");
  const at::ScalarType dtype = inputs[0].scalar_type();
  for (size_t i = 0; i < inputs.size(); ++i) {
    TORCH_CHECK_VALUE(inputs[i].device().is_cpu(), where, ": inputs[", i,
                      "]: expected a tensor on the CPU, got one on ", inputs[i].device(),
                      "; move the model and its inputs to the CPU");
    TORCH_CHECK_TYPE(inputs[i].scalar_type() == dtype, where, ": inputs[", i, "]: expected ", dtype,
                     " like inputs[0], got ", inputs[i].scalar_type());
  }
  TORCH_CHECK_TYPE(dtype == at::kFloat || dtype == at::kDouble, where,
                   ": inputs: expected Float or Double, got ", dtype, "; cast them");
  return dtype == at::kFloat ? DType::float32 : DType::float64;
}

Array as_array(const at::Tensor& tensor) {
  const at::ScalarType dtype = tensor.scalar_type();
  return {tensor.data_ptr(), tensor.sizes().vec(),
          dtype == at::kFloat    ? DType::float32
          : dtype == at::kDouble ? DType::float64
                                 : DType::int64};
}

int threads_for(int64_t elements) {
  return elements < kSerialElements || at::in_parallel_region() ? 1 : at::get_num_threads();
}

std::vector<at::Tensor> run(at::TensorList inputs, std::string_view text) {
  const DType dtype = common_dtype("tvm_equi::run", inputs);
  const Plan& plan = find_plan("run", text, dtype);
  TORCH_CHECK_VALUE(inputs.size() == plan.inputs.size(), "tvm_equi::run: inputs: expected ",
                    plan.inputs.size(), " tensors, got ", inputs.size());
  const int64_t rows = num_rows(plan, inputs);
  const at::TensorOptions options = inputs[0].options();
  std::vector<at::Tensor> outputs;
  if (rows == 0) {
    for (const Operand& each : plan.outputs) {
      outputs.push_back(each.rows == Rows::shared ? at::zeros({each.columns}, options)
                                                  : at::zeros({0, each.columns}, options));
    }
    return outputs;
  }
  std::vector<at::Tensor> given;
  std::vector<Array> arrays;
  int64_t elements = 0;
  for (const at::Tensor& input : inputs) given.push_back(input.contiguous());
  for (const Operand& each : plan.outputs) {
    const int64_t leading = each.rows == Rows::shared ? num_chunks(rows) : rows;
    outputs.push_back(new_result({leading, each.columns}, options));
  }
  for (const at::Tensor& tensor : given) arrays.push_back(as_array(tensor));
  for (const at::Tensor& tensor : outputs) arrays.push_back(as_array(tensor));
  for (const Operand& each : plan.inputs)
    elements += each.rows == Rows::shared ? 0 : rows * each.columns;
  for (const Operand& each : plan.outputs)
    elements += each.rows == Rows::shared ? 0 : rows * each.columns;
  (*plan.passes.at(0).kernel)(arrays, threads_for(elements));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (plan.outputs[i].rows == Rows::shared) outputs[i] = outputs[i].sum(0);
  }
  return outputs;
}

}  // namespace tvm_equi::torch_ops
