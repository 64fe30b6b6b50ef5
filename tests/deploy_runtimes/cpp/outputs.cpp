// Outputs are the caller's own, also where a program hands on an input, a parameter or one value
// twice.
//
//     outputs MODEL
//
// MODEL is that of tests/deploy/programs.py.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <tvm_equi/tvm_equi.hpp>
#include <vector>

#include "check.hpp"

using namespace tvm_equi;

int main(int count, char** arguments) try {
  if (count != 2) return 2;
  const Model model = Model::load(arguments[1]);
  std::vector<Tensor> inputs;
  for (const ValueEntry& entry : model.inputs()) {
    inputs.push_back(Tensor::empty<float>({5, entry.shape[1].number}));
    float* values = inputs.back().data<float>();
    for (int64_t i = 0; i < inputs.back().numel(); ++i) values[i] = std::sin(float(i));
  }
  const std::vector<float> given = inputs[0].values<float>();
  const Outputs first = model.call(inputs);
  std::vector<std::vector<float>> expected;
  for (size_t i = 0; i < first.size(); ++i) expected.push_back(first[i].values<float>());
  check(first["z"].values<float>() == first["z_again"].values<float>(), "one value twice");
  for (size_t i = 0; i < first.size(); ++i) {
    for (size_t j = 0; j < i; ++j) check(first[i].address() != first[j].address(), "own memory");
    std::fill_n(first[i].data<float>(), first[i].numel(), -1.0f);
  }
  check(inputs[0].values<float>() == given, "an input after outputs were changed");
  const Outputs second = model.call(inputs);
  for (size_t i = 0; i < second.size(); ++i) {
    check(second[i].values<float>() == expected[i], "a call after outputs were changed");
  }
  return num_failures() == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
