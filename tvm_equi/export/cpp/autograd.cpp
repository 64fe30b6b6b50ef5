#include "autograd.hpp"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
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

std::vector<int64_t> up_to(size_t count) {
  std::vector<int64_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

/// The gradients to the inputs `wrt`, from those gradients to the outputs that are there.
///
/// Files that are made for training have the derivative with respect to everything from everything:
/// it serves where the exact one is missing, with zeros for gradients that are not there.
std::vector<at::Tensor> derivative(const std::string& plan, at::TensorList inputs,
                                   at::TensorList topology, const std::vector<int64_t>& wrt,
                                   const variable_list& grads,
                                   const std::vector<at::Tensor>& zeros) {
  const char* operation = topology.empty() ? "run" : "convolve";
  const DType dtype = common_dtype(operation, inputs);
  std::vector<int64_t> given;
  for (size_t i = 0; i < grads.size(); ++i) {
    if (grads[i].defined()) given.push_back(int64_t(i));
  }
  const auto has = [&](const std::vector<int64_t>& to, const std::vector<int64_t>& from) {
    return has_plan(operation, derivative_text(plan, to, from), dtype);
  };
  const std::vector<int64_t> every = up_to(inputs.size()), all = up_to(grads.size());
  std::vector<int64_t> to = wrt, from = given;
  if (!has(wrt, given)) {
    if (has(every, given)) {
      to = every;
    } else if (has(every, all)) {
      to = every;
      from = all;
    }
  }
  std::vector<at::Tensor> arguments = inputs.vec();
  for (int64_t number : from) {
    const auto i = size_t(number);
    arguments.push_back(grads[i].defined() ? grads[i] : zeros[i]);
  }
  const std::vector<at::Tensor> found =
      dispatched(arguments, topology, derivative_text(plan, to, from));
  if (to == wrt) return found;
  std::vector<at::Tensor> chosen;
  for (int64_t number : wrt) chosen.push_back(found[size_t(number)]);
  return chosen;
}

/// Arguments: the inputs, then the topology; the number of inputs; the plan.
struct Operator : public torch::autograd::Function<Operator> {
  static variable_list forward(AutogradContext* context, at::TensorList tensors, int64_t num_inputs,
                               const std::string& plan) {
    context->set_materialize_grads(false);
    context->saved_data["plan"] = plan;
    context->saved_data["num_inputs"] = num_inputs;
    context->save_for_backward(tensors.vec());
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto count = size_t(num_inputs);
    const variable_list outputs = dispatched(tensors.slice(0, count), tensors.slice(count), plan);
    std::vector<at::Tensor> zeros;  // of no memory
    for (const at::Tensor& output : outputs) {
      zeros.push_back(at::zeros({}, output.options()).expand(output.sizes()));
    }
    context->saved_data["zeros"] = zeros;
    return outputs;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list tensors = context->get_saved_variables();
    const auto num_inputs = size_t(context->saved_data["num_inputs"].toInt());
    std::vector<int64_t> wrt;
    for (size_t i = 0; i < num_inputs; ++i) {
      if (context->needs_input_grad(i)) wrt.push_back(int64_t(i));
    }
    variable_list results(tensors.size() + 2);  // none to the number of inputs, none to the plan
    const auto is_given = [](const at::Tensor& grad) { return grad.defined(); };
    if (wrt.empty() || std::none_of(grads.begin(), grads.end(), is_given)) return results;
    const at::TensorList all(tensors);
    const std::vector<at::Tensor> found = derivative(
        context->saved_data["plan"].toStringRef(), all.slice(0, num_inputs), all.slice(num_inputs),
        wrt, grads, context->saved_data["zeros"].toTensorVector());
    for (size_t i = 0; i < wrt.size(); ++i) results[size_t(wrt[i])] = found[i];
    return results;
  }
};

/// Tangents count, too: torch then says that this operator has no derivative forward.
bool needs_derivative(at::TensorList inputs) {
  const bool has_gradients = at::GradMode::is_enabled();
  return std::any_of(inputs.begin(), inputs.end(), [&](const at::Tensor& t) {
    return (has_gradients && t.requires_grad()) || t._fw_grad(/*level=*/0).defined();
  });
}

std::vector<at::Tensor> differentiable(at::TensorList inputs, at::TensorList topology,
                                       std::string_view plan) {
  if (!needs_derivative(inputs)) {
    const at::AutoDispatchBelowADInplaceOrView below;
    return dispatched(inputs, topology, plan);
  }
  variable_list tensors(inputs.begin(), inputs.end());
  tensors.insert(tensors.end(), topology.begin(), topology.end());
  return Operator::apply(at::TensorList(tensors), int64_t(inputs.size()), std::string(plan));
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
