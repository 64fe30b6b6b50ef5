#include "autograd.hpp"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "cpu.hpp"

namespace tvm_equi::torch_ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

std::vector<at::Tensor> dispatched(at::TensorList inputs, at::TensorList topology,
                                   std::string_view plan) {
  const c10::string_view text(plan.data(), plan.size());
  if (topology.empty()) {
    static const auto run = c10::Dispatcher::singleton()
                                .findSchemaOrThrow("tvm_equi::run", "")
                                .typed<std::vector<at::Tensor>(at::TensorList, c10::string_view)>();
    return run.call(inputs, text);
  }
  static const auto convolve =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("tvm_equi::convolve", "")
          .typed<std::vector<at::Tensor>(at::TensorList, at::TensorList, c10::string_view)>();
  return convolve.call(inputs, topology, text);
}

/// The gradients to the inputs `wrt`. Files made for training have the derivative with respect to
/// everything; what is not wanted of it is left out.
std::vector<at::Tensor> derivative(const std::string& plan, const variable_list& inputs,
                                   size_t num_inputs, at::TensorList topology,
                                   const std::vector<int64_t>& wrt, const std::vector<int64_t>& of) {
  const char* operation = topology.empty() ? "run" : "convolve";
  std::vector<int64_t> every(num_inputs);
  std::iota(every.begin(), every.end(), 0);
  const DType dtype = common_dtype(operation, inputs);
  const std::string exact = derivative_text(plan, wrt, of), whole = derivative_text(plan, every, of);
  if (has_plan(operation, exact, dtype) || !has_plan(operation, whole, dtype)) {
    return dispatched(inputs, topology, exact);
  }
  const std::vector<at::Tensor> found = dispatched(inputs, topology, whole);
  std::vector<at::Tensor> chosen;
  for (int64_t number : wrt) chosen.push_back(found[size_t(number)]);
  return chosen;
}

/// Arguments: the inputs, then the topology; the number of inputs; the plan.
struct Operator : public torch::autograd::Function<Operator> {
  static variable_list forward(AutogradContext* context, const variable_list& tensors,
                               int64_t num_inputs, const std::string& plan) {
    context->set_materialize_grads(false);
    context->saved_data["plan"] = plan;
    context->saved_data["num_inputs"] = num_inputs;
    context->save_for_backward(tensors);
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::TensorList all(tensors);
    return dispatched(all.slice(0, size_t(num_inputs)), all.slice(size_t(num_inputs)), plan);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list tensors = context->get_saved_variables();
    const auto num_inputs = size_t(context->saved_data["num_inputs"].toInt());
    const std::string plan = context->saved_data["plan"].toStringRef();
    std::vector<int64_t> wrt, of;
    variable_list given(tensors.begin(), tensors.begin() + int64_t(num_inputs));
    for (size_t i = 0; i < num_inputs; ++i) {
      if (context->needs_input_grad(i)) wrt.push_back(int64_t(i));
    }
    for (size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i].defined()) continue;
      of.push_back(int64_t(i));
      given.push_back(grads[i]);
    }
    variable_list results(tensors.size() + 2);  // none to the number of inputs, none to the plan
    if (wrt.empty() || of.empty()) return results;
    const at::TensorList topology = at::TensorList(tensors).slice(num_inputs);
    const std::vector<at::Tensor> found = derivative(plan, given, num_inputs, topology, wrt, of);
    for (size_t i = 0; i < wrt.size(); ++i) results[size_t(wrt[i])] = found[i];
    return results;
  }
};

bool needs_gradient(at::TensorList inputs) {
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& t) { return t.requires_grad(); });
}

std::vector<at::Tensor> differentiable(at::TensorList inputs, at::TensorList topology,
                                       std::string_view plan) {
  if (!needs_gradient(inputs)) {
    const at::AutoDispatchBelowADInplaceOrView below;
    return dispatched(inputs, topology, plan);
  }
  variable_list tensors(inputs.begin(), inputs.end());
  tensors.insert(tensors.end(), topology.begin(), topology.end());
  return Operator::apply(tensors, int64_t(inputs.size()), std::string(plan));
}

}  // namespace

std::vector<at::Tensor> run_autograd(at::TensorList inputs, std::string_view plan) {
  return differentiable(inputs, {}, plan);
}

std::vector<at::Tensor> convolve_autograd(at::TensorList inputs, at::TensorList topology,
                                          std::string_view plan) {
  return differentiable(inputs, topology, plan);
}

}  // namespace tvm_equi::torch_ops
