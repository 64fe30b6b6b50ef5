// Outputs are the caller's own, also where a program hands on an input, a parameter or one value
// twice; and a call that there is no memory for is an error.
//
//     outputs MODEL
//
// MODEL is that of tests/deploy/programs.py.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <tvm_equi/tvm_equi.hpp>
#include <vector>

#include "check.hpp"

using namespace tvm_equi;

static std::vector<Tensor> inputs_of(const Model& model, int64_t rows) {
  std::vector<Tensor> inputs;
  for (const ValueEntry& entry : model.inputs()) {
    inputs.push_back(Tensor::empty<float>({rows, entry.shape[1].number}));
    float* values = inputs.back().data<float>();
    for (int64_t i = 0; i < inputs.back().numel(); ++i) values[i] = std::sin(float(i));
  }
  return inputs;
}

/// Without memory for what a call needs within.
static void test_no_memory(const Model& model) {
  const std::vector<Tensor> inputs = inputs_of(model, 200000);
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before;
  getrlimit(RLIMIT_AS, &before);
  const rlimit now{pages * size_t(sysconf(_SC_PAGESIZE)) + (size_t(30) << 20), before.rlim_max};
  setrlimit(RLIMIT_AS, &now);
  check_error("main: expected more memory, got no more", [&] { model.call(inputs); });
  setrlimit(RLIMIT_AS, &before);
  check(model.call(inputs)["z"].size(0) == 200000, "a call with memory again");
}

int main(int count, char** arguments) try {
  if (count != 2) return 2;
  const Model model = Model::load(arguments[1]);
  const std::vector<Tensor> inputs = inputs_of(model, 5);
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
  test_no_memory(model);
  return num_failures() == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
