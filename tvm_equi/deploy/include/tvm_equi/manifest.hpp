// The manifest of a model file: what is in it, for which machines, and how it is called.
//
// In: a checked container. Out: data. A manifest is read completely or refused, with the field's
// name: keys that are missing or unknown, names of no section, target or kernel, and signatures
// that do not fit together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "container.hpp"
#include "fields.hpp"

namespace tvm_equi {

/// What libraries were compiled for: a kind of CPU, or some GPUs.
struct Target {
  std::string name, machine;
  std::vector<std::string> features;       // of a CPU, as Linux names them
  std::vector<std::string> architectures;  // of GPUs; none for a CPU

  bool is_gpu() const { return !architectures.empty(); }
};

/// A compiled kernel: sections by target.
struct KernelEntry {
  std::string key, dtype;
  std::map<std::string, std::string> libraries;
};

/// A call of a kernel within a plan.
struct PassEntry {
  std::string kernel;
  std::string order;  // of the edges: "sender" or "receiver"; "" without edges
  std::vector<int64_t> outputs, copied, summed;
};

/// An input or output of a plan: `rows` is "row", "shared", "sender" or "receiver".
struct OperandEntry {
  int64_t columns;
  std::string rows;
};

/// What the torch operator must know of a plan to run it without Python.
struct PlanEntry {
  std::string plan;
  std::string name;  // of the operator: "run" or "convolve"
  std::vector<OperandEntry> inputs, outputs;
  std::vector<PassEntry> passes;
};

/// A size of a shape: a number, or the name of one that differs from call to call.
struct SizeEntry {
  int64_t number;
  std::string name;  // empty for a number
};

/// An input or output of a program.
struct ValueEntry {
  std::string name, dtype;
  std::vector<SizeEntry> shape;
};

/// A whole model as one function of parameters, then inputs.
struct ProgramEntry {
  std::string name;
  std::vector<ValueEntry> inputs, outputs;
  std::vector<std::string> parameters;
  std::map<std::string, std::string> libraries;             // section by target
  std::map<std::string, std::vector<std::string>> kernels;  // sections by target
};

struct Manifest {
  std::map<std::string, std::string> versions;  // of what compiled it
  std::string dtype;
  int64_t derivatives;
  std::vector<Target> targets;
  std::vector<KernelEntry> kernels;
  std::vector<PlanEntry> plans;
  std::optional<std::string> parameters, graph;
  std::vector<ProgramEntry> programs;
};

namespace detail {

inline constexpr std::string_view kLetters =
    "_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-,+:";
inline constexpr std::string_view kWord = kLetters.substr(0, 63), kName = kLetters.substr(0, 65),
                                  kTargetName = kLetters.substr(0, 67);

class ManifestReader {
 public:
  explicit ManifestReader(const Container& container)
      : container_(container), manifest_(container.manifest(), container.where() + ": manifest") {}

  Manifest read() {
    manifest_.only({"tvm_equi_model", "versions", "dtype", "derivatives", "targets", "kernels",
                    "plans", "parameters", "graph", "programs", "sections"});
    Manifest out;
    manifest_["versions"].each_pair([&](const std::string& name, const Field& field) {
      out.versions.emplace(name, field.text());
    });
    out.targets = manifest_["targets"].each(read_target);
    if (out.targets.empty()) manifest_["targets"].fail("one or more");
    check_unique(manifest_["targets"].where(), names_of(out.targets));
    for (const Target& target : out.targets) {
      targets_.push_back(target.name);
      if (!target.is_gpu()) cpus_.push_back(target.name);
    }
    out.kernels = manifest_["kernels"].each([&](const Field& field) { return read_kernel(field); });
    std::vector<std::string> kernels, plans;
    for (const KernelEntry& entry : out.kernels) {
      kernels.push_back(entry.key + " " + entry.dtype);
      keys_.push_back(entry.key);
    }
    check_unique(manifest_["kernels"].where(), kernels);
    std::sort(keys_.begin(), keys_.end());
    out.plans = manifest_["plans"].each([&](const Field& field) { return read_plan(field); });
    for (const PlanEntry& entry : out.plans) plans.push_back(entry.plan);
    check_unique(manifest_["plans"].where(), plans);
    out.programs =
        manifest_["programs"].each([&](const Field& field) { return read_program(field); });
    check_unique(manifest_["programs"].where(), names_of(out.programs));
    out.parameters = read_optional(manifest_["parameters"]);
    for (const ProgramEntry& program : out.programs) {
      if (!program.parameters.empty() && !out.parameters) {
        manifest_["parameters"].fail("a section, since program " + shown(program.name) +
                                     " has parameters");
      }
    }
    out.dtype = manifest_["dtype"].choice({"float32", "float64", "float16", "bfloat16"});
    out.derivatives = manifest_["derivatives"].number();
    out.graph = read_optional(manifest_["graph"]);
    return out;
  }

 private:
  template <typename T>
  static std::vector<std::string> names_of(const std::vector<T>& entries) {
    std::vector<std::string> names;
    for (const T& entry : entries) names.push_back(entry.name);
    return names;
  }

  std::string read_section(const Field& field) const {
    if (!container_.has(field.text())) field.fail("the name of a section");
    return field.text();
  }

  std::optional<std::string> read_optional(const Field& field) const {
    if (!field.text_or_null()) return std::nullopt;
    return read_section(field);
  }

  static Target read_target(const Field& field) {
    const bool is_gpu = field.has("architectures");
    is_gpu ? field.only({"name", "architectures"}) : field.only({"name", "machine", "features"});
    Target out;
    out.name = field["name"].name("a name of letters, digits and _ . , + -", kTargetName, ".,+-");
    if (!is_gpu) {
      out.machine = field["machine"].name("a machine such as 'x86_64'", kWord);
      out.features = field["features"].each([](const Field& item) {
        return item.name("a CPU feature such as 'avx2'",
                         "_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                         "abcdefghijklmnopqrstuvwxyz0123456789.:-");
      });
      check_unique(field["features"].where(), out.features);
      return out;
    }
    std::string all;
    out.architectures = field["architectures"].each([&](const Field& item) {
      const std::string& text = item.text();
      size_t digits = 3;
      while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
      const bool has_letter =
          digits + 1 == text.size() && text[digits] >= 'a' && text[digits] <= 'z';
      const bool has_rest = digits < text.size() && !has_letter;
      if (text.substr(0, 3) != "sm_" || digits < 5 || digits > 7 || has_rest) {
        item.fail("a GPU such as 'sm_90'");
      }
      all += (all.empty() ? "" : ",") + text;
      return text;
    });
    if (all.empty() || all != out.name) field["architectures"].fail("those of " + shown(out.name));
    check_unique(field["architectures"].where(), out.architectures);
    return out;
  }

  /// What there is for each of some targets.
  template <typename F>
  static auto by_target(const Field& field, const std::vector<std::string>& targets, F&& read) {
    std::map<std::string, decltype(read(field))> out;
    field.each_pair([&](const std::string& target, const Field& item) {
      if (std::find(targets.begin(), targets.end(), target) == targets.end()) {
        refuse(field.where(), "names of targets", shown(target));
      }
      out.emplace(target, read(item));
    });
    return out;
  }

  KernelEntry read_kernel(const Field& field) const {
    field.only({"key", "dtype", "libraries"});
    KernelEntry out;
    out.libraries = by_target(field["libraries"], targets_,
                              [&](const Field& item) { return read_section(item); });
    for (const std::string& target : targets_) {
      if (out.libraries.count(target) == 0) {
        refuse(field["libraries"].where(), "one for " + shown(target), "none");
      }
    }
    out.key = field["key"].digest();
    out.dtype = field["dtype"].choice({"float32", "float64", "float16", "bfloat16"});
    return out;
  }

  static OperandEntry read_operand(const Field& field, bool is_convolve) {
    if (!field.is_list() || field.size() != 2) field.fail("[columns, rows]");
    const Field rows = field[1];
    return {field[0].number(), is_convolve ? rows.choice({"row", "shared", "sender", "receiver"})
                                           : rows.choice({"row", "shared"})};
  }

  static std::vector<int64_t> read_numbers(const Field& field, size_t count) {
    return field.each([&](const Field& item) {
      const int64_t number = item.number();
      if (uint64_t(number) >= count) item.fail("a number below " + std::to_string(count));
      return number;
    });
  }

  PassEntry read_pass(const Field& field, const PlanEntry& plan) const {
    field.only({"kernel", "order", "outputs", "copied", "summed"});
    PassEntry out;
    out.kernel = field["kernel"].digest();
    if (!std::binary_search(keys_.begin(), keys_.end(), out.kernel)) {
      field["kernel"].fail("the key of a kernel");
    }
    out.order = plan.name == "convolve" ? field["order"].choice({"sender", "receiver"})
                                        : field["order"].choice({""});
    out.outputs = read_numbers(field["outputs"], plan.outputs.size());
    out.copied = read_numbers(field["copied"], plan.inputs.size());
    out.summed = field["summed"].each([](const Field& item) { return item.number(); });
    return out;
  }

  PlanEntry read_plan(const Field& field) const {
    field.only({"plan", "operator", "inputs", "outputs", "passes"});
    PlanEntry out;
    out.plan = field["plan"].text();
    out.name = field["operator"].choice({"run", "convolve"});
    const auto operand = [&](const Field& item) {
      return read_operand(item, out.name == "convolve");
    };
    out.inputs = field["inputs"].each(operand);
    out.outputs = field["outputs"].each(operand);
    out.passes = field["passes"].each([&](const Field& item) { return read_pass(item, out); });
    std::vector<int64_t> computed, all(out.outputs.size());
    for (const PassEntry& pass : out.passes) {
      computed.insert(computed.end(), pass.outputs.begin(), pass.outputs.end());
    }
    std::sort(computed.begin(), computed.end());
    std::iota(all.begin(), all.end(), 0);
    if (computed != all) {
      refuse(field["passes"].where(), "each of " + std::to_string(all.size()) + " outputs once",
             "other numbers of outputs");
    }
    return out;
  }

  static ValueEntry read_value(const Field& field) {
    field.only({"name", "dtype", "shape"});
    ValueEntry out;
    out.name = field["name"].name("a name of letters, digits and _ . - after a letter", kName,
                                  ".-0123456789");
    out.dtype = field["dtype"].choice(
        {"float32", "float64", "float16", "bfloat16", "int64", "int32", "bool"});
    out.shape = field["shape"].each([](const Field& item) {
      if (item.is_number()) return SizeEntry{item.number(), ""};
      return SizeEntry{0, item.name("a number, or the name of a size", kWord, "0123456789")};
    });
    return out;
  }

  ProgramEntry read_program(const Field& field) const {
    field.only({"name", "inputs", "outputs", "parameters", "libraries", "kernels"});
    ProgramEntry out;
    out.name = field["name"].name("a name of letters, digits and _ . - after a letter", kName,
                                  ".-0123456789");
    out.inputs = field["inputs"].each(read_value);
    out.outputs = field["outputs"].each(read_value);
    out.parameters = field["parameters"].each([](const Field& item) { return item.text(); });
    const auto section = [&](const Field& item) { return read_section(item); };
    out.libraries = by_target(field["libraries"], cpus_, section);
    out.kernels =
        by_target(field["kernels"], cpus_, [&](const Field& item) { return item.each(section); });
    check_unique(field["inputs"].where(), names_of(out.inputs));
    check_unique(field["outputs"].where(), names_of(out.outputs));
    if (out.outputs.empty()) field["outputs"].fail("one or more");
    if (out.libraries.empty()) field["libraries"].fail("one for a target");
    for (const auto& [target, name] : out.libraries) {
      if (out.kernels.count(target) == 0)
        refuse(field["kernels"].where(), "the targets of libraries", "none for " + shown(target));
    }
    if (out.kernels.size() != out.libraries.size()) {
      refuse(field["kernels"].where(), "the targets of libraries", "more");
    }
    return out;
  }

  const Container& container_;
  Field manifest_;
  std::vector<std::string> targets_, cpus_, keys_;
};

}  // namespace detail

/// The manifest of a checked file.
inline Manifest read_manifest(const Container& container) {
  return detail::ManifestReader(container).read();
}

}  // namespace tvm_equi
