#include "pool.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace tvm_equi::torch_ops {

namespace {

constexpr size_t kMinBytes = size_t(1) << 20;  // smaller blocks torch's allocator keeps itself
constexpr size_t kDefaultLimit = size_t(1) << 30;

size_t limit() {
  static const size_t found = [] {
    const char* text = std::getenv("TVM_EQUI_POOL_BYTES");
    return text == nullptr ? kDefaultLimit : size_t(std::strtoull(text, nullptr, 10));
  }();
  return found;
}

class Pool {
 public:
  /// An idle storage of exactly this size, which becomes the newest; none where there is none.
  c10::Storage take(size_t num_bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto fits = [&](const c10::Storage& s) { return s.nbytes() == num_bytes && is_idle(s); };
    const auto found = std::find_if(storages_.begin(), storages_.end(), fits);
    if (found == storages_.end()) return {};
    c10::Storage storage = std::move(*found);
    storages_.erase(found);
    storages_.push_back(storage);
    return storage;
  }

  /// Keeps a storage in use, and lets go of the oldest idle ones over the limit.
  void keep(const c10::Storage& storage) {
    const std::lock_guard<std::mutex> lock(mutex_);
    storages_.push_back(storage);
    size_t idle = 0;
    for (const c10::Storage& each : storages_) idle += is_idle(each) ? each.nbytes() : 0;
    for (auto each = storages_.begin(); each != storages_.end() && idle > limit();) {
      if (is_idle(*each)) {
        idle -= each->nbytes();
        each = storages_.erase(each);
      } else {
        ++each;
      }
    }
  }

 private:
  static bool is_idle(const c10::Storage& storage) { return storage.use_count() == 1; }

  std::mutex mutex_;
  std::vector<c10::Storage> storages_;
};

/// Never destroyed: results may outlive everything static.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

at::Tensor new_result(at::IntArrayRef shape, const at::TensorOptions& options) {
  size_t num_bytes = options.dtype().itemsize();
  for (int64_t extent : shape) num_bytes *= size_t(extent);
  if (num_bytes < kMinBytes || num_bytes > limit()) return at::empty(shape, options);
  const c10::Storage storage = pool().take(num_bytes);
  if (storage) return at::empty({0}, options).set_(storage, 0, shape);
  at::Tensor result = at::empty(shape, options);
  pool().keep(result.storage());
  return result;
}

}  // namespace tvm_equi::torch_ops
