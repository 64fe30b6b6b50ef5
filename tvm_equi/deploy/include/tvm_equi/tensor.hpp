// Tensors on the CPU: memory of its own, or a view of the caller's.
#pragma once

#include <tvm/ffi/container/tensor.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.hpp"

namespace tvm_equi {

namespace detail {

inline constexpr size_t kTensorAlignment = 64;  // what TVM's code may count on

struct AlignedMemory {
  void AllocData(DLTensor* tensor) {
    const size_t size = tvm::ffi::GetDataSize(*tensor);
    const size_t room =
        std::max<size_t>(1, (size + kTensorAlignment - 1) / kTensorAlignment) * kTensorAlignment;
    tensor->data = std::aligned_alloc(kTensorAlignment, room);
    if (tensor->data == nullptr)
      refuse("tensor", std::to_string(size) + " bytes of memory", "none");
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

/// Memory that something else owns, kept alive with it.
template <typename Owner>
struct SharedMemory {
  void* data;
  Owner owner;
  void AllocData(DLTensor* tensor) { tensor->data = data; }
  void FreeData(DLTensor*) {}
};

template <typename T>
constexpr DLDataType dtype_of() {
  static_assert(std::is_arithmetic_v<T>, "a number");
  const auto bits = uint8_t(8 * sizeof(T));
  if constexpr (std::is_same_v<T, bool>) return {kDLBool, 8, 1};
  if constexpr (std::is_floating_point_v<T>) return {kDLFloat, bits, 1};
  if constexpr (std::is_signed_v<T>) return {kDLInt, bits, 1};
  return {kDLUInt, bits, 1};
}

inline DLDataType dtype_named(std::string_view name) {
  if (name == "float64") return {kDLFloat, 64, 1};
  if (name == "float32") return {kDLFloat, 32, 1};
  if (name == "float16") return {kDLFloat, 16, 1};
  if (name == "bfloat16") return {kDLBfloat, 16, 1};
  if (name == "int64") return {kDLInt, 64, 1};
  if (name == "int32") return {kDLInt, 32, 1};
  if (name == "int16") return {kDLInt, 16, 1};
  if (name == "int8") return {kDLInt, 8, 1};
  if (name == "uint8") return {kDLUInt, 8, 1};
  if (name == "bool") return {kDLBool, 8, 1};
  refuse("tensor: dtype", "a dtype such as 'float32'", shown(name));
}

inline std::string dtype_name(DLDataType dtype) {
  for (std::string_view name : {"float64", "float32", "float16", "bfloat16", "int64", "int32",
                                "int16", "int8", "uint8", "bool"}) {
    const DLDataType known = dtype_named(name);
    if (known.code == dtype.code && known.bits == dtype.bits && known.lanes == dtype.lanes) {
      return std::string(name);
    }
  }
  return "code " + std::to_string(dtype.code) + " of " + std::to_string(dtype.bits) + " bits";
}

inline bool is_same(DLDataType a, DLDataType b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

inline std::string shape_text(const int64_t* shape, int num_sizes) {
  std::string text = "[";
  for (int i = 0; i < num_sizes; ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// Refuses a shape with negative sizes, or of more bytes than can be counted.
inline void check_shape(const int64_t* shape, int num_sizes) {
  int64_t num_bytes = 8;  // of the longest number
  for (int i = 0; i < num_sizes; ++i) {
    if (shape[i] < 0) refuse("tensor: shape", "no negative sizes", shape_text(shape, num_sizes));
    if (shape[i] > 0 && __builtin_mul_overflow(num_bytes, shape[i], &num_bytes)) {
      refuse("tensor: shape", "fewer elements", shape_text(shape, num_sizes));
    }
  }
}

inline void copy_strided(const DLTensor& from, const char* source, char*& target, int axis,
                         size_t item) {
  if (axis == from.ndim) {
    std::memcpy(target, source, item);
    target += item;
    return;
  }
  for (int64_t i = 0; i < from.shape[axis]; ++i) {
    copy_strided(from, source + i * from.strides[axis] * int64_t(item), target, axis + 1, item);
  }
}

}  // namespace detail

/// A tensor on the CPU. Copies share the memory.
class Tensor {
 public:
  Tensor(tvm::ffi::Tensor tensor) : tensor_(std::move(tensor)) {  // NOLINT: tensors are one thing
    if (!tensor_.defined()) detail::refuse("tensor", "a tensor", "none");
    if (dl().device.device_type != kDLCPU) {
      detail::refuse("tensor: device", "the CPU", "another device", "copy it to the CPU first");
    }
  }

  /// A view of a DLPack tensor, which must outlive it.
  Tensor(const DLTensor* tensor)  // NOLINT: tensors are one thing
      : Tensor(borrowed(tensor)) {}

  /// New memory, its content arbitrary.
  static Tensor empty(DLDataType dtype, const std::vector<int64_t>& shape) {
    return tvm::ffi::Tensor::FromNDAlloc(detail::AlignedMemory(), shape_view(shape), dtype, kCpu);
  }
  template <typename T>
  static Tensor empty(const std::vector<int64_t>& shape) {
    return empty(detail::dtype_of<T>(), shape);
  }

  /// New memory with the values of a vector.
  template <typename T>
  static Tensor copy(const std::vector<T>& values, const std::vector<int64_t>& shape) {
    Tensor out = empty<T>(shape);
    check_count(out.numel(), values.size());
    std::copy(values.begin(), values.end(), out.data<T>());
    return out;
  }

  /// A view of a vector's memory, which must outlive it.
  template <typename T>
  static Tensor view(const std::vector<T>& values, const std::vector<int64_t>& shape) {
    Tensor out = view(values.data(), shape);
    check_count(out.numel(), values.size());
    return out;
  }
  template <typename T>
  static Tensor view(const T* values, const std::vector<int64_t>& shape) {
    const detail::SharedMemory<std::nullptr_t> memory{const_cast<T*>(values), nullptr};
    return tvm::ffi::Tensor::FromNDAlloc(memory, shape_view(shape), detail::dtype_of<T>(), kCpu);
  }

  const tvm::ffi::Tensor& ffi() const { return tensor_; }
  const DLTensor& dl() const { return *tensor_.GetDLTensorPtr(); }
  DLDataType dtype() const { return tensor_.dtype(); }
  std::vector<int64_t> shape() const { return {dl().shape, dl().shape + dl().ndim}; }
  int64_t size(int axis) const {
    if (axis < 0 || axis >= dl().ndim) {
      detail::refuse("tensor: size", "an axis below " + std::to_string(dl().ndim),
                     std::to_string(axis));
    }
    return dl().shape[axis];
  }
  int64_t numel() const { return tensor_.numel(); }

  /// The elements, of the tensor's own dtype, in C's order.
  template <typename T>
  T* data() const {
    if (!detail::is_same(detail::dtype_of<T>(), dtype())) {
      detail::refuse("tensor: data", detail::dtype_name(dtype()),
                     detail::dtype_name(detail::dtype_of<T>()));
    }
    if (!tvm::ffi::IsContiguous(dl())) {
      detail::refuse("tensor: data", "elements in C's order", "other strides",
                     "copied() has them in order");
    }
    return reinterpret_cast<T*>(address());
  }

  template <typename T>
  std::vector<T> values() const {
    const Tensor ordered = tvm::ffi::IsContiguous(dl()) ? *this : copied();
    const T* const first = ordered.data<T>();
    return std::vector<T>(first, first + numel());  // braces would make a list of two bools
  }

  /// The one element of a tensor.
  template <typename T>
  T item() const {
    if (numel() != 1) detail::refuse("tensor: item", "one element", std::to_string(numel()));
    return *data<T>();
  }

  /// Of the first element.
  char* address() const { return static_cast<char*>(dl().data) + dl().byte_offset; }

  /// Itself where code of TVM can use it as it is, otherwise a copy.
  Tensor usable() const {
    const bool is_usable = tvm::ffi::IsContiguous(dl()) &&
                           tvm::ffi::IsAligned(dl(), detail::kTensorAlignment) &&
                           dl().byte_offset == 0 &&
                           numel() > 0;  // strides of nothing may be any, which TVM refuses
    return is_usable ? *this : copied();
  }

  /// A copy in memory of its own.
  Tensor copied() const {
    Tensor out = empty(dtype(), shape());
    const size_t size = tvm::ffi::GetDataSize(dl());
    char* target = out.address();
    if (size == 0) return out;
    if (tvm::ffi::IsContiguous(dl())) {
      std::memcpy(target, address(), size);
    } else {
      detail::copy_strided(dl(), address(), target, 0, size_t(dtype().bits) * dtype().lanes / 8);
    }
    return out;
  }

 private:
  static constexpr DLDevice kCpu{kDLCPU, 0};

  static tvm::ffi::ShapeView shape_view(const std::vector<int64_t>& shape) {
    detail::check_shape(shape.data(), int(shape.size()));
    return {shape.data(), shape.size()};
  }

  static void check_count(int64_t wanted, size_t found) {
    if (uint64_t(wanted) != found) {
      detail::refuse("tensor: values", std::to_string(wanted) + " for the shape",
                     std::to_string(found));
    }
  }

  static tvm::ffi::Tensor borrowed(const DLTensor* tensor) {
    if (tensor == nullptr) detail::refuse("tensor", "a tensor", "none");
    detail::check_shape(tensor->shape, tensor->ndim);
    struct Handle : DLManagedTensor {
      static void free(DLManagedTensor* self) { delete static_cast<Handle*>(self); }
    };
    auto* handle = new Handle();
    handle->dl_tensor = *tensor;
    handle->manager_ctx = nullptr;
    handle->deleter = &Handle::free;
    return tvm::ffi::Tensor::FromDLPack(handle);
  }

  tvm::ffi::Tensor tensor_;
};

}  // namespace tvm_equi
