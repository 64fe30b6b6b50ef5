// A whole model from a file, called from C++ with neither Python nor torch.
//
//     auto model = tvm_equi::Model::load("model.tvmeq", {.threads = 2});
//     auto out = model({{"vectors", vectors}, {"edge_index", edges}});
//     float energy = out["energy"].item<float>();
//
// Everything about a file is checked before code of it is loaded; names, dtypes and shapes are
// checked in each call. Every error is a tvm_equi::Error. Calls from several threads at once are
// right.
#pragma once

#include <tvm/ffi/any.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/extra/module.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "container.hpp"
#include "error.hpp"
#include "library.hpp"
#include "machines.hpp"
#include "manifest.hpp"
#include "runtime.hpp"
#include "safetensors.hpp"
#include "signature.hpp"
#include "targets.hpp"
#include "tensor.hpp"

namespace tvm_equi {

struct Options {
  int threads = 1;               // of a call's parallel loops
  std::string program = "main";  // of the file
  std::string target = {};       // "" for the best that this CPU runs
  std::string runtime = {};      // libtvm_runtime.so or its folder; "" to look for it
};

/// A tensor by name.
struct Argument {
  std::string_view name;
  Tensor tensor;
};

namespace detail {

/// A program of a file, ready to run. Everything is checked before code is loaded.
class LoadedProgram {
 public:
  LoadedProgram(const Container& container, const Options& options)
      : file_(container.where()),
        threads_(options.threads),
        manifest_(read_manifest(container)),
        entry_(find(options.program)),
        where_(file_ + ": " + entry_.name),
        signature_(entry_),
        target_(find_target(options.target)) {
    if (threads_ < 1 || threads_ > Threads::kMost) {
      refuse(where_ + ": threads", "a number from 1 to " + std::to_string(Threads::kMost),
             std::to_string(threads_));
    }
    read_parameters(container);
    std::lock_guard<std::mutex> lock(load_mutex());
    load_runtime(options.runtime);
    register_index_error();
    Threads::expect(threads_);
    try {
      LibraryLoader loader(container);
      for (const std::string& section : entry_.kernels.at(target_)) loader.kernel(section);
      machines_.emplace(where_, loader.module(entry_.libraries.at(target_)));
    } catch (const Error& error) {
      throw Error(error.what() + compiled_with());
    }
  }
  LoadedProgram(const LoadedProgram&) = delete;
  LoadedProgram& operator=(const LoadedProgram&) = delete;

  const std::string& where() const { return where_; }
  const ProgramEntry& entry() const { return entry_; }
  const std::string& target() const { return target_; }
  int threads() const { return threads_; }

  /// Outputs in their order, for inputs in theirs.
  std::vector<Tensor> run(const std::vector<const Tensor*>& inputs) {
    Sizes sizes(signature_.num_sizes());
    std::vector<tvm::ffi::AnyView> arguments(parameters_.begin(), parameters_.end());
    std::vector<Tensor> given;
    given.reserve(inputs.size());
    arguments.reserve(parameters_.size() + inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      signature_.check_input(where_, i, *inputs[i], sizes);
      given.push_back(inputs[i]->usable());
      arguments.push_back(given.back().ffi());
    }
    Threads::use(where_, threads_);
    memory_.called_with(sizes.values);
    std::vector<Tensor> outputs = with_context(
        where_, [&] { return tensors_of(machines_->run(arguments.data(), arguments.size())); });
    std::vector<Tensor> before;
    for (size_t i = 0; i < outputs.size(); ++i) {
      signature_.check_output(where_, i, outputs[i], sizes);
      if (is_memory_of(given, outputs[i]) || is_memory_of(owned_, outputs[i]) ||
          is_memory_of(before, outputs[i])) {
        outputs[i] = outputs[i].copied();
      }
      before.push_back(outputs[i]);
    }
    return outputs;
  }

 private:
  /// What a library that cannot be loaded was made for.
  std::string compiled_with() const {
    std::string text;
    for (const auto& [name, version] : manifest_.versions) {
      text += (text.empty() ? "; compiled with " : ", ") + name + " " + version;
    }
    return std::string(clipped(text));
  }

  /// Whether an output is handed through: it must outlive inputs, and be no way to change
  /// parameters or another output.
  static bool is_memory_of(const std::vector<Tensor>& tensors, const Tensor& output) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const Tensor& tensor) { return tensor.address() == output.address(); });
  }

  const ProgramEntry& find(const std::string& name) const {
    std::string known;
    for (const ProgramEntry& entry : manifest_.programs) {
      if (entry.name == name) return entry;
      known += (known.empty() ? "one of " : ", ") + entry.name;
    }
    refuse(file_ + ": program", known.empty() ? "a file with programs" : known, shown(name));
  }

  std::string find_target(const std::string& wanted) const {
    std::vector<Target> targets;
    std::string known;
    for (const Target& each : manifest_.targets) {
      if (entry_.libraries.count(each.name) == 0) continue;
      known += (known.empty() ? "" : ", ") + each.name;
      if (wanted.empty() || each.name == wanted) targets.push_back(each);
    }
    if (targets.empty()) refuse(file_ + ": target", "one of " + known, shown(wanted));
    return best_target(file_, targets).name;
  }

  void read_parameters(const Container& container) {
    if (!manifest_.parameters) return;  // then no program has any
    const std::string& section = *manifest_.parameters;
    const auto tensors = read_tensors(file_ + ": " + section, container.section(section));
    for (const ProgramEntry& program : manifest_.programs) {
      for (const std::string& name : program.parameters) {
        if (tensors.count(name) > 0) continue;
        refuse(file_ + ": " + program.name + ": parameters", "a tensor of " + section, shown(name));
      }
    }
    for (const std::string& name : entry_.parameters) {
      const TensorEntry& tensor = tensors.at(name);
      const SharedMemory<std::shared_ptr<const void>> memory{const_cast<char*>(tensor.bytes.data()),
                                                             container.memory()};
      const tvm::ffi::ShapeView shape(tensor.shape.data(), tensor.shape.size());
      const DLDataType dtype = dtype_named(tensor.dtype);
      const Tensor view(tvm::ffi::Tensor::FromNDAlloc(memory, shape, dtype, DLDevice{kDLCPU, 0}));
      owned_.push_back(view.usable());  // a copy only where it does not start at a multiple of 64
      parameters_.push_back(owned_.back().ffi());
    }
  }

  std::vector<Tensor> tensors_of(const tvm::ffi::Any& result) const {
    const auto list = result.try_cast<tvm::ffi::Array<tvm::ffi::Tensor>>();
    if (!list.has_value() || list->size() != entry_.outputs.size()) {
      refuse(where_ + ": the program's outputs", std::to_string(entry_.outputs.size()) + " tensors",
             list.has_value() ? std::to_string(list->size()) : "something else");
    }
    return {list->begin(), list->end()};
  }

  std::string file_;
  int threads_;
  Manifest manifest_;
  const ProgramEntry& entry_;
  std::string where_;
  Signature signature_;
  std::string target_;
  std::vector<Tensor> owned_;
  std::vector<tvm::ffi::Any> parameters_;
  std::optional<Machines> machines_;
  MemoryBound memory_;
};

}  // namespace detail

/// Outputs of a call by name, or by number in the order of the file.
class Outputs {
 public:
  Outputs(std::shared_ptr<const detail::LoadedProgram> program, std::vector<Tensor> tensors)
      : program_(std::move(program)), tensors_(std::move(tensors)) {}

  size_t size() const { return tensors_.size(); }
  template <typename Number, std::enable_if_t<std::is_integral_v<Number>, int> = 0>
  const Tensor& operator[](Number number) const {  // any type: a plain 0 is a pointer, too
    if (number < 0 || size_t(number) >= size()) {
      detail::refuse(program_->where() + ": outputs", "a number below " + std::to_string(size()),
                     std::to_string(number));
    }
    return tensors_[size_t(number)];
  }
  const Tensor& operator[](const char* name) const { return find(name); }
  const Tensor& operator[](const std::string& name) const { return find(name); }

 private:
  const Tensor& find(std::string_view name) const {
    std::string known;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const std::string& each = program_->entry().outputs[i].name;
      if (each == name) return tensors_[i];
      known += (known.empty() ? "" : ", ") + each;
    }
    detail::refuse(program_->where() + ": outputs", "one of " + known, detail::shown(name));
  }

  std::shared_ptr<const detail::LoadedProgram> program_;
  std::vector<Tensor> tensors_;
};

/// A loaded program. Copies share it.
class Model {
 public:
  explicit Model(const Container& container, const Options& options = {})
      : program_(std::make_shared<detail::LoadedProgram>(container, options)) {}

  static Model load(const std::string& path, const Options& options = {}) {
    return Model(Container::read(path), options);
  }

  const std::vector<ValueEntry>& inputs() const { return program_->entry().inputs; }
  const std::vector<ValueEntry>& outputs() const { return program_->entry().outputs; }
  const std::string& target() const { return program_->target(); }
  int threads() const { return program_->threads(); }

  /// Calls the program with tensors by name, in any order.
  Outputs operator()(const std::vector<Argument>& arguments) const {
    std::vector<const Tensor*> tensors(inputs().size(), nullptr);
    for (const Argument& argument : arguments) {
      const Tensor*& place = tensors[number_of(argument.name)];
      if (place != nullptr) {
        detail::refuse(program_->where() + ": " + std::string(argument.name), "one tensor", "two");
      }
      place = &argument.tensor;
    }
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i] == nullptr) {
        detail::refuse(program_->where() + ": " + inputs()[i].name, "a tensor", "none");
      }
    }
    return Outputs(program_, program_->run(tensors));
  }

  /// Calls the program with tensors in the order of inputs().
  Outputs call(const std::vector<Tensor>& arguments) const {
    if (arguments.size() != inputs().size()) {
      detail::refuse(program_->where() + ": inputs", std::to_string(inputs().size()) + " tensors",
                     std::to_string(arguments.size()));
    }
    std::vector<const Tensor*> tensors;
    for (const Tensor& tensor : arguments) tensors.push_back(&tensor);
    return Outputs(program_, program_->run(tensors));
  }

 private:
  size_t number_of(std::string_view name) const {
    std::string known;
    for (size_t i = 0; i < inputs().size(); ++i) {
      if (inputs()[i].name == name) return i;
      known += (known.empty() ? "" : ", ") + inputs()[i].name;
    }
    detail::refuse(program_->where() + ": inputs", "one of " + known, detail::shown(name));
  }

  std::shared_ptr<detail::LoadedProgram> program_;
};

}  // namespace tvm_equi
