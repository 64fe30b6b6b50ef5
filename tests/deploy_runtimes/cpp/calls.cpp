// Calls of the demo's potential: values, threads, errors, memory. Prints errors of values as JSON.
//
//     calls MODEL DATA.safetensors OTHER
//
// OTHER is a model with other kernels. DATA has the inputs by name, and what e3nn gives in float64
// as expected.energy and expected.d_positions.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <tvm_equi/tvm_equi.hpp>
#include <vector>

#include "check.hpp"

using namespace tvm_equi;

static std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Data {
  explicit Data(const std::string& path)
      : bytes(content(path)), tensors(read_tensors(path, bytes)) {}

  Tensor tensor(const std::string& name) const {
    const TensorEntry& entry = tensors.at(name);
    Tensor out = Tensor::empty(detail::dtype_named(entry.dtype), entry.shape);
    std::copy(entry.bytes.begin(), entry.bytes.end(), out.address());
    return out;
  }

  std::string bytes;
  std::map<std::string, TensorEntry> tensors;
};

template <typename T>
static double error_of(const Tensor& found, const Tensor& expected) {
  double worst = 0, largest = 1e-30;
  check(found.shape() == expected.shape(), "shape of an output");
  for (int64_t i = 0; i < found.numel(); ++i) {
    const double value = expected.data<double>()[i];
    worst = std::max(worst, std::abs(double(found.data<T>()[i]) - value));
    largest = std::max(largest, std::abs(value));
  }
  return worst / largest;
}

struct Inputs {
  Tensor positions, species, senders, receivers, shifts;

  std::vector<Argument> named() const {
    return {{"receivers", receivers},
            {"senders", senders},
            {"positions", positions},
            {"species", species},
            {"shifts", shifts}};
  }
};

/// The atoms, further apart.
template <typename T>
static Inputs stretched(const Inputs& inputs, double factor) {
  Inputs out = inputs;
  out.positions = inputs.positions.copied();
  T* values = out.positions.data<T>();
  std::transform(values, values + out.positions.numel(), values,
                 [&](T x) { return T(x * factor); });
  return out;
}

static bool is_equal(const Outputs& a, const Outputs& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const size_t size = tvm::ffi::GetDataSize(a[i].dl());
    if (size != tvm::ffi::GetDataSize(b[i].dl())) return false;
    if (std::memcmp(a[i].address(), b[i].address(), size) != 0) return false;
  }
  return a.size() == b.size();
}

/// Several threads at once give what one gives, whatever the number of threads of a call, while
/// another model is loaded.
template <typename T>
static void test_threads(const std::string& path, const std::string& other, const Inputs& inputs) {
  const Model serial = Model::load(path, {2});
  constexpr int kThreads = 4, kCalls = 100;
  std::vector<Outputs> expected;
  for (int i = 0; i < kThreads; ++i) {
    expected.push_back(serial(stretched<T>(inputs, 1 + 0.01 * i).named()));
  }
  std::vector<int> wrong(kThreads, 0);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const Model model = i % 2 == 0 ? serial : Model::load(path, {1});
      const Inputs mine = stretched<T>(inputs, 1 + 0.01 * double(i));
      for (int call = 0; call < kCalls; ++call) {
        if (i == 0 && call == 10) Model::load(other);
        wrong[i] += !is_equal(model(mine.named()), expected[i]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int count : wrong) check(count == 0, std::to_string(count) + " wrong results of a thread");
}

/// The workers of a pool are not there after a fork: the child runs serially, and gives the same.
static void test_fork(const Model& model, const Inputs& inputs) {
  const Outputs expected = model(inputs.named());
  const pid_t child = fork();
  if (child == 0) _exit(is_equal(model(inputs.named()), expected) ? 0 : 1);
  int status = -1;
  check(waitpid(child, &status, 0) == child && status == 0, "a call after a fork");
}

template <typename T>
static void test_inputs(const Model& model, const Inputs& inputs) {
  const Outputs expected = model(inputs.named());
  Inputs other = inputs;
  // Memory that starts anywhere, and columns before rows.
  const int64_t atoms = inputs.positions.size(0);
  std::vector<T> shifted(size_t(3 * atoms + 1)), turned(size_t(3 * atoms));
  for (int64_t i = 0; i < 3 * atoms; ++i) {
    shifted[size_t(i + 1)] = inputs.positions.data<T>()[i];
    turned[size_t(i % 3 * atoms + i / 3)] = inputs.positions.data<T>()[i];
  }
  other.positions = Tensor::view(shifted.data() + 1, {atoms, 3});
  check(is_equal(model(other.named()), expected), "misaligned input");
  int64_t shape[] = {atoms, 3}, strides[] = {1, atoms};
  const DLTensor columns{turned.data(), {kDLCPU, 0}, 2, detail::dtype_of<T>(), shape, strides, 0};
  other.positions = Tensor(&columns);
  check(is_equal(model(other.named()), expected), "strided input");
  check(other.positions.values<T>() == inputs.positions.values<T>(),
        "values of a strided tensor");
  check_error("tensor: data: expected elements in C's order", [&] {
    other.positions.data<T>();
  });
  const DLTensor dense{shifted.data(), {kDLCPU, 0}, 2,        detail::dtype_of<T>(),
                       shape,          nullptr,     sizeof(T)};
  other.positions = Tensor(&dense);
  check(is_equal(model(other.named()), expected), "input with an offset and no strides");
  check(other.positions.values<T>() == inputs.positions.values<T>(), "values behind an offset");
  Tensor room = Tensor::empty<T>({atoms + 64, 3});  // 64 bytes, then the positions
  std::copy_n(inputs.positions.address(), 3 * size_t(atoms) * sizeof(T), room.address() + 64);
  const DLTensor later{room.address(), {kDLCPU, 0}, 2, detail::dtype_of<T>(), shape, nullptr, 64};
  other.positions = Tensor(&later);
  check(is_equal(model(other.named()), expected), "aligned input with an offset");
  other.positions = Tensor(inputs.positions.ffi());
  check(is_equal(model(other.named()), expected), "tvm::ffi::Tensor");
  std::vector<Tensor> in_order;
  for (const ValueEntry& value : model.inputs()) {
    for (const Argument& argument : inputs.named()) {
      if (argument.name == value.name) in_order.push_back(argument.tensor);
    }
  }
  check(is_equal(model.call(in_order), expected), "inputs in order");
  int64_t none[] = {0, 3}, zeros[] = {0, 0};
  const DLTensor nothing{nullptr, {kDLCPU, 0}, 2, detail::dtype_of<T>(), none, zeros, 0};
  other = {&nothing, &nothing, Tensor::empty<int64_t>({0}), Tensor::empty<int64_t>({0}), &nothing};
  check(model(other.named())[1].shape() == std::vector<int64_t>{0, 3}, "no atoms, any strides");
}

template <typename T>
static void test_errors(const std::string& path, const Model& model, const Inputs& inputs) {
  using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
  const Outputs expected = model(inputs.named());
  const auto refused = [&](const std::string& text, std::vector<Argument> arguments) {
    check_error(": main: " + text, [&] { model(arguments); });
  };
  std::vector<Argument> arguments = inputs.named();
  arguments.pop_back();
  refused("shifts: expected a tensor, got none", arguments);
  arguments.push_back({"shift", inputs.shifts});
  refused("inputs: expected one of positions, species, senders, receivers, shifts, got 'shift'",
          arguments);
  arguments.back() = {"senders", inputs.senders};
  refused("senders: expected one tensor, got two", arguments);
  const int64_t atoms = inputs.positions.size(0), edges = inputs.senders.size(0);
  Inputs other = inputs;
  other.positions = Tensor::empty<Other>({atoms, 3});
  refused("positions: expected " + detail::dtype_name(inputs.positions.dtype()), other.named());
  other.positions = Tensor::empty<T>({atoms, 4});
  refused("positions: expected shape [nodes, 3], got [" + std::to_string(atoms) + ", 4]",
          other.named());
  other.positions = Tensor::empty<T>({3 * atoms});
  refused("positions: expected shape [nodes, 3], got", other.named());
  other.positions = Tensor::empty<T>({atoms + 1, 3});
  refused("species: expected shape [nodes=" + std::to_string(atoms + 1) + ", 3], got",
          other.named());
  other = inputs;
  other.receivers = Tensor::empty<int64_t>({edges - 1});
  refused("receivers: expected shape [edges=" + std::to_string(edges) + "], got", other.named());
  for (int64_t wrong : {int64_t(-1), atoms, int64_t(1) << 40}) {
    other = inputs;
    other.senders = inputs.senders.copied();
    other.senders.data<int64_t>()[edges / 2] = wrong;
    refused("IndexError: senders: expected numbers from 0 to " + std::to_string(atoms - 1) +
                ", got " + std::to_string(wrong),
            other.named());
    check(is_equal(model(inputs.named()), expected), "a call after an error");
  }
  check_error("inputs: expected 5 tensors, got 1", [&] { model.call({inputs.positions}); });
  check_error("outputs: expected one of energy, d_positions, got 'forces'",
              [&] { expected["forces"]; });
  check_error("outputs: expected a number below 2, got 2", [&] { expected[2]; });
  check_error("outputs: expected a number below 2, got -1", [&] { expected[-1]; });
  check(expected[0].address() == expected["energy"].address(), "an output by number");
  check_error("tensor: data: expected ", [&] { expected["energy"].data<Other>(); });
  check_error("tensor: size: expected an axis below 2, got 2", [&] { inputs.positions.size(2); });
  check_error("tensor: item: expected one element", [&] { expected["d_positions"].item<T>(); });
  check_error("tensor: values: expected 6 for the shape, got 2",
              [] { Tensor::copy(std::vector<T>(2), {2, 3}); });
  check_error("tensor: shape: expected fewer elements",
              [] { Tensor::empty<T>({int64_t(1) << 40, int64_t(1) << 40}); });
  check_error("bytes of memory, got none", [] { Tensor::empty<T>({int64_t(1) << 50}); });
  check_error("tensor: shape: expected no negative sizes", [] { Tensor::empty<T>({2, -3}); });
  check_error("tensor: shape: expected no negative sizes, got [-2, -3]",
              [] { Tensor::view(std::vector<T>(6), {-2, -3}); });
  check_error("tensor: shape: expected fewer elements", [] {
    Tensor::view(std::vector<T>(), {int64_t(1) << 32, int64_t(1) << 32});
  });
  int64_t shape[] = {int64_t(1) << 61, 3};
  const DLTensor huge{nullptr, {kDLCPU, 0}, 2, detail::dtype_of<T>(), shape, nullptr, 0};
  check_error("tensor: shape: expected fewer elements", [&] { Tensor{&huge}; });
  const std::vector<bool> flags{true, false, false};
  check(Tensor::copy(flags, {3}).values<bool>() == flags, "values of bools");
  check_error("tensor: expected a tensor, got none",
              [] { Tensor(static_cast<const DLTensor*>(nullptr)); });
  check_error("program: expected one of main, got 'other'",
              [&] { Model::load(path, {1, "other"}); });
  check_error("target: expected one of x86-64-v3, got 'sm_90'",
              [&] { Model::load(path, {1, "main", "sm_90"}); });
  check_error("threads: expected a number from 1 to 1024, got 0", [&] { Model::load(path, {0}); });
  check_error("got 40000", [&] { Model::load(path, {40000}); });
  check_error("threads: expected at most 2, which this thread's first call took, got 64",
              [&] { Model::load(path, {64})(inputs.named()); });
}

static int64_t resident_pages() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident;
}

/// A simulation, whose number of edges is another in each step, takes no ever more memory.
static void test_memory(const Model& model, const Inputs& inputs) {
  const int64_t edges = inputs.senders.size(0);
  const auto call = [&](int64_t count) {
    std::vector<int64_t> senders, receivers;
    for (int64_t i = 0; i < count; ++i) {
      senders.push_back(inputs.senders.data<int64_t>()[i % edges]);
      receivers.push_back(inputs.receivers.data<int64_t>()[i % edges]);
    }
    Inputs other = inputs;
    other.senders = Tensor::copy(senders, {count});
    other.receivers = Tensor::copy(receivers, {count});
    other.shifts = Tensor::empty(inputs.shifts.dtype(), {count, 3});
    std::fill_n(other.shifts.address(), tvm::ffi::GetDataSize(other.shifts.dl()), char(0));
    model(other.named());
  };
  constexpr int64_t kEdges = 3000;
  for (int64_t step = 0; step < 40; ++step) call(kEdges + 40 * step);
  const int64_t before = resident_pages();
  for (int64_t step = 40; step < 200; ++step) call(kEdges + 40 * step % 4000);
  const double grown = double(resident_pages() - before) * double(sysconf(_SC_PAGESIZE)) / 1e6;
  check(grown < 120, "memory grew by " + std::to_string(grown) + " MB in 160 steps");
}

template <typename T>
static void test(const std::string& path, const Data& data, const std::string& other) {
  const Inputs inputs{data.tensor("positions"), data.tensor("species"), data.tensor("senders"),
                      data.tensor("receivers"), data.tensor("shifts")};
  test_threads<T>(path, other, inputs);
  test_fork(Model::load(path, {2}), inputs);
  const Model model = Model::load(path);
  const Outputs out = model(inputs.named());
  std::printf("{\"energy\": %.3e, \"d_positions\": %.3e}\n",
              error_of<T>(out["energy"], data.tensor("expected.energy")),
              error_of<T>(out["d_positions"], data.tensor("expected.d_positions")));
  test_inputs<T>(model, inputs);
  test_errors<T>(path, model, inputs);
  test_memory(model, inputs);
}

int main(int count, char** arguments) try {
  if (count != 4) return 2;
  const Data data(arguments[2]);
  const bool is_double = data.tensors.at("positions").dtype == "float64";
  is_double ? test<double>(arguments[1], data, arguments[3])
            : test<float>(arguments[1], data, arguments[3]);
  return num_failures() == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
