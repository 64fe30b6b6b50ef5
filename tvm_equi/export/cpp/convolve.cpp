// `tvm_equi::convolve`: a kernel over the edges of a graph.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "cpu.hpp"
#include "pool.hpp"

namespace tvm_equi::torch_ops {

namespace {

/// Edges sorted by a node: numbers of edges, node of each, node at the other end, where each node's
/// edges start, and tasks.
using Order = std::vector<at::Tensor>;
constexpr size_t kOrderSize = 5;

struct Topology {
  Order by_sender, by_receiver;
  int64_t num_edges, num_senders, num_receivers;

  int64_t count(Rows rows) const {
    return rows == Rows::row ? num_edges : rows == Rows::sender ? num_senders : num_receivers;
  }

  const Order& order(Rows rows) const { return rows == Rows::sender ? by_sender : by_receiver; }
};

/// The order by a node, checked as far as its shapes go.
Order order_of(at::TensorList tensors, int64_t num_edges) {
  Order order;
  for (size_t i = 0; i < kOrderSize; ++i) {
    TORCH_CHECK_TYPE(tensors[i].scalar_type() == at::kLong && tensors[i].device().is_cpu(),
                     "tvm_equi::convolve: topology: expected Long on the CPU, got ",
                     tensors[i].scalar_type(), " on ", tensors[i].device());
    order.push_back(tensors[i].contiguous());
  }
  bool fits = order[3].dim() == 1 && order[3].size(0) > 0 && order[4].dim() == 2 &&
              order[4].size(0) == 2 && order[4].size(1) > 1;
  for (size_t i = 0; i < 3; ++i)
    fits = fits && order[i].dim() == 1 && order[i].size(0) == num_edges;
  TORCH_CHECK_VALUE(fits,
                    "tvm_equi::convolve: topology: expected the tensors that tvm_equi::sort_edges "
                    "gives, got other shapes");
  return order;
}

Topology topology_of(at::TensorList tensors) {
  TORCH_CHECK_VALUE(tensors.size() == 2 * kOrderSize, "tvm_equi::convolve: topology: expected ",
                    2 * kOrderSize, " tensors, got ", tensors.size());
  TORCH_CHECK_VALUE(tensors[0].dim() == 1,
                    "tvm_equi::convolve: topology[0]: expected shape [edges], got ",
                    tensors[0].sizes());
  const int64_t num_edges = tensors[0].size(0);
  Order by_sender = order_of(tensors.slice(0, kOrderSize), num_edges);
  Order by_receiver = order_of(tensors.slice(kOrderSize, kOrderSize), num_edges);
  const int64_t num_senders = by_sender[3].size(0) - 1, num_receivers = by_receiver[3].size(0) - 1;
  return {std::move(by_sender), std::move(by_receiver), num_edges, num_senders, num_receivers};
}

std::vector<int64_t> shape_of(const Operand& value, const Topology& topology) {
  if (value.rows == Rows::shared) return {value.columns};
  return {topology.count(value.rows), value.columns};
}

void check_inputs(const Plan& plan, at::TensorList inputs, const Topology& topology) {
  TORCH_CHECK_VALUE(inputs.size() == plan.inputs.size(), "tvm_equi::convolve: inputs: expected ",
                    plan.inputs.size(), " tensors, got ", inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<int64_t> wanted = shape_of(plan.inputs[i], topology);
    TORCH_CHECK_VALUE(inputs[i].sizes() == at::IntArrayRef(wanted), "tvm_equi::convolve: inputs[",
                      i, "]: expected shape ", at::IntArrayRef(wanted), ", got ",
                      inputs[i].sizes());
  }
}

/// Runs one pass, which gives some of the outputs.
void run_pass(const Plan& plan, const Pass& pass, const std::vector<at::Tensor>& given,
              const Topology& topology, std::vector<at::Tensor>& outputs) {
  const Order& order = topology.order(pass.order);
  const int64_t num_tasks = order[4].size(1) - 1;
  const at::TensorOptions options = given[0].options();
  std::vector<at::Tensor> tensors = given;
  for (int64_t number : pass.outputs) {
    const Operand& value = plan.outputs[size_t(number)];
    tensors.push_back(value.rows == Rows::shared ? new_result({num_tasks, value.columns}, options)
                                                 : new_result(shape_of(value, topology), options));
  }
  int64_t elements = 0;
  for (const at::Tensor& tensor : tensors) elements += tensor.numel();
  for (int64_t number : pass.copied)
    tensors.push_back(new_result(given[size_t(number)].sizes(), options));
  for (int64_t columns : pass.summed) tensors.push_back(at::empty({num_tasks, columns}, options));
  tensors.insert(tensors.end(), order.begin(), order.end());
  std::vector<Array> arrays;
  for (const at::Tensor& tensor : tensors) arrays.push_back(as_array(tensor));
  (*pass.kernel)(arrays, threads_for(elements));
  for (size_t i = 0; i < pass.outputs.size(); ++i) {
    const size_t number = size_t(pass.outputs[i]);
    const at::Tensor& result = tensors[given.size() + i];
    outputs[number] = plan.outputs[number].rows == Rows::shared ? result.sum(0) : result;
  }
}

}  // namespace

std::vector<at::Tensor> convolve(at::TensorList inputs, at::TensorList tensors,
                                 std::string_view text) {
  const DType dtype = common_dtype("tvm_equi::convolve", inputs);
  const Plan& plan = find_plan("convolve", text, dtype);
  const Topology topology = topology_of(tensors);
  check_inputs(plan, inputs, topology);
  std::vector<at::Tensor> outputs(plan.outputs.size());
  if (topology.num_edges == 0 || topology.num_senders == 0 || topology.num_receivers == 0) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      outputs[i] = at::zeros(shape_of(plan.outputs[i], topology), inputs[0].options());
    }
    return outputs;
  }
  std::vector<at::Tensor> given;
  for (const at::Tensor& input : inputs) given.push_back(input.contiguous());
  for (const Pass& pass : plan.passes) run_pass(plan, pass, given, topology, outputs);
  return outputs;
}

}  // namespace tvm_equi::torch_ops
