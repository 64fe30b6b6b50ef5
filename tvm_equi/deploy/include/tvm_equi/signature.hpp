// Whether tensors fit the inputs and outputs of a program.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "error.hpp"
#include "manifest.hpp"
#include "tensor.hpp"

namespace tvm_equi::detail {

/// Sizes by name of one call, which get their values where they first occur.
struct Sizes {
  std::vector<int64_t> values;
  std::vector<const std::string*> origins;  // whose shape each came from; nullptr if not known yet

  explicit Sizes(size_t count) : values(count, 0), origins(count, nullptr) {}
};

/// Inputs, then outputs, with the names of sizes resolved.
class Signature {
 public:
  explicit Signature(const ProgramEntry& program) {
    for (const auto* list : {&program.inputs, &program.outputs}) {
      for (const ValueEntry& entry : *list) values_.push_back(resolve(entry));
    }
    num_inputs_ = program.inputs.size();
  }

  size_t num_sizes() const { return names_.size(); }

  void check_input(const std::string& where, size_t number, const Tensor& tensor,
                   Sizes& sizes) const {
    check(where, values_[number], tensor, sizes);
  }

  void check_output(const std::string& where, size_t number, const Tensor& tensor,
                    Sizes& sizes) const {
    check(where + ": the program's output", values_[num_inputs_ + number], tensor, sizes);
  }

 private:
  struct Value {
    const ValueEntry* entry;
    DLDataType dtype;
    std::vector<int> names;  // numbers of its sizes' names; -1 where a size is a number
  };

  Value resolve(const ValueEntry& entry) {
    Value value{&entry, dtype_named(entry.dtype), {}};
    for (const SizeEntry& size : entry.shape) {
      if (size.name.empty()) {
        value.names.push_back(-1);
        continue;
      }
      const auto found = std::find(names_.begin(), names_.end(), size.name);
      value.names.push_back(int(found - names_.begin()));
      if (found == names_.end()) names_.push_back(size.name);
    }
    return value;
  }

  static void check(const std::string& where, const Value& value, const Tensor& tensor,
                    Sizes& sizes) {
    const ValueEntry& entry = *value.entry;
    const DLTensor& found = tensor.dl();
    if (!is_same(found.dtype, value.dtype)) {
      refuse(where + ": " + entry.name, entry.dtype, dtype_name(found.dtype));
    }
    bool fits = size_t(found.ndim) == entry.shape.size();
    const std::string* other = nullptr;  // whose size it contradicts
    for (size_t i = 0; fits && i < entry.shape.size(); ++i) {
      const int64_t size = found.shape[i];
      const int name = value.names[i];
      if (name < 0) {
        fits = size == entry.shape[i].number;
      } else if (sizes.origins[size_t(name)] == nullptr) {
        sizes.values[size_t(name)] = size;
        sizes.origins[size_t(name)] = &entry.name;
      } else if (sizes.values[size_t(name)] != size) {
        fits = false;
        other = sizes.origins[size_t(name)];
      }
    }
    if (fits) return;
    refuse(where + ": " + entry.name, "shape " + wanted_shape(value, sizes),
           shape_text(found.shape, found.ndim),
           other == nullptr ? "" : "sizes of one name are equal, here and in " + *other);
  }

  static std::string wanted_shape(const Value& value, const Sizes& sizes) {
    std::string text = "[";
    for (size_t i = 0; i < value.names.size(); ++i) {
      const SizeEntry& size = value.entry->shape[i];
      text += i > 0 ? ", " : "";
      text += size.name.empty() ? std::to_string(size.number) : size.name;
      const int name = value.names[i];
      const std::string* origin = name < 0 ? nullptr : sizes.origins[size_t(name)];
      if (origin != nullptr && origin != &value.entry->name) {
        text += "=" + std::to_string(sizes.values[size_t(name)]);
      }
    }
    return text + "]";
  }

  std::vector<Value> values_;
  std::vector<std::string> names_;
  size_t num_inputs_ = 0;
};

}  // namespace tvm_equi::detail
