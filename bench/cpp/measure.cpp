// What it takes to load and call a model from C++, as JSON; bench/deploy.py starts it.
//
//     measure MODEL [--threads N] [--program NAME] [--seconds S] [--inputs FILE.safetensors |
//     SIZE=NUMBER...]
//
// Times are in seconds. "load" and "first" are of this process alone, and so of a cold start as far
// as the disk's cache allows; of later calls there are the quartiles over batches. Inputs come from
// a file, or are made for the given sizes: normal random numbers, and indices below the smallest
// size.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <tvm_equi/tvm_equi.hpp>
#include <vector>

using namespace tvm_equi;
using Clock = std::chrono::steady_clock;

namespace {

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Settings {
  std::string model, inputs;
  Options options;
  double seconds = 1;
  std::map<std::string, int64_t> sizes;
};

Settings read(int count, char** arguments) {
  Settings out;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    const size_t sign = word.find('=');
    if (word.rfind("--", 0) == 0) {
      if (i + 1 == count) throw Error("measure: " + word + ": expected a value, got none");
      const std::string value = arguments[++i];
      if (word == "--threads") {
        out.options.threads = std::atoi(value.c_str());
      } else if (word == "--program") {
        out.options.program = value;
      } else if (word == "--seconds") {
        out.seconds = std::atof(value.c_str());
      } else if (word == "--inputs") {
        out.inputs = value;
      } else {
        throw Error("measure: expected --threads, --program, --seconds or --inputs, got " + word);
      }
    } else if (sign != std::string::npos) {
      out.sizes[word.substr(0, sign)] = std::atoll(word.c_str() + sign + 1);
    } else {
      out.model = word;
    }
  }
  if (out.model.empty()) throw Error("measure: expected the path of a model, got none");
  return out;
}

template <typename T, typename F>
void fill(Tensor& tensor, F&& value) {
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data<T>()[i] = T(value());
}

Tensor made(const ValueEntry& entry, const Settings& settings, std::mt19937& random) {
  std::vector<int64_t> shape;
  for (const SizeEntry& size : entry.shape) {
    const auto found = settings.sizes.find(size.name);
    if (!size.name.empty() && found == settings.sizes.end()) {
      throw Error("measure: expected " + size.name + "=NUMBER or --inputs, got none");
    }
    shape.push_back(size.name.empty() ? size.number : found->second);
  }
  int64_t smallest = settings.sizes.empty() ? 1 : INT64_MAX;
  for (const auto& [name, size] : settings.sizes) smallest = std::min(smallest, size);
  std::normal_distribution<double> normal;
  std::uniform_int_distribution<int64_t> below(0, std::max<int64_t>(smallest - 1, 0));
  Tensor out = Tensor::empty(detail::dtype_named(entry.dtype), shape);
  if (entry.dtype == "float32") {
    fill<float>(out, [&] { return normal(random); });
  } else if (entry.dtype == "float64") {
    fill<double>(out, [&] { return normal(random); });
  } else if (entry.dtype == "int64") {
    fill<int64_t>(out, [&] { return below(random); });
  } else if (entry.dtype == "int32") {
    fill<int32_t>(out, [&] { return below(random); });
  } else {
    throw Error("measure: " + entry.name + ": expected a dtype that inputs are made for, got " +
                entry.dtype);
  }
  return out;
}

std::vector<Tensor> inputs_of(const Model& model, const Settings& settings) {
  std::vector<Tensor> out;
  if (settings.inputs.empty()) {
    std::mt19937 random(0);
    for (const ValueEntry& entry : model.inputs()) out.push_back(made(entry, settings, random));
    return out;
  }
  std::ifstream file(settings.inputs, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto tensors = read_tensors(settings.inputs, bytes);
  for (const ValueEntry& entry : model.inputs()) {
    const auto found = tensors.find(entry.name);
    if (found == tensors.end())
      throw Error("measure: " + settings.inputs + ": expected " + entry.name + ", got none");
    Tensor tensor = Tensor::empty(detail::dtype_named(found->second.dtype), found->second.shape);
    std::copy(found->second.bytes.begin(), found->second.bytes.end(), tensor.address());
    out.push_back(tensor);
  }
  return out;
}

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[size_t(std::lround(q * double(sorted.size() - 1)))];
}

void measure(const Settings& settings) {
  const Clock::time_point start = Clock::now();
  const Model model = Model::load(settings.model, settings.options);
  const double load = seconds_since(start);
  const std::vector<Tensor> inputs = inputs_of(model, settings);
  std::vector<Argument> arguments;
  for (size_t i = 0; i < inputs.size(); ++i)
    arguments.push_back({model.inputs()[i].name, inputs[i]});

  Clock::time_point last = Clock::now();
  model(arguments);
  const double first = seconds_since(last);
  last = Clock::now();
  model(arguments);
  const double second = seconds_since(last);
  // A batch takes a millisecond or a call: the clock's own time does not count.
  const auto batch = size_t(std::clamp(1e-3 / std::max(second, 1e-9), 1.0, 1e5));
  std::vector<double> calls;
  const Clock::time_point began = Clock::now();
  while (seconds_since(began) < settings.seconds || calls.size() < 5) {
    last = Clock::now();
    for (size_t i = 0; i < batch; ++i) model(arguments);
    calls.push_back(seconds_since(last) / double(batch));
  }
  std::sort(calls.begin(), calls.end());
  std::printf(
      "{\"target\": \"%s\", \"threads\": %d, \"load\": %.6g, \"first\": %.6g, \"calls\": "
      "{\"median\": %.6g, "
      "\"lower_quartile\": %.6g, \"upper_quartile\": %.6g, \"batch\": %zu, \"batches\": %zu}}\n",
      model.target().c_str(), model.threads(), load, first, quantile(calls, 0.5),
      quantile(calls, 0.25), quantile(calls, 0.75), batch, calls.size());
}

}  // namespace

int main(int count, char** arguments) try {
  measure(read(count, arguments));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
