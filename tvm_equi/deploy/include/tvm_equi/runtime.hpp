// TVM's small runtime, and how many threads its parallel loops take.
//
// libtvm_runtime.so holds the virtual machine of programs and the threads of kernels. It is linked,
// or found at the first load: where $TVM_EQUI_RUNTIME says, by the dynamic linker, beside
// libtvm_ffi.so, or where Python's packages have it.
#pragma once

#include <dlfcn.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "error.hpp"

namespace tvm_equi {

namespace detail {

/// Held while something is loaded.
inline std::mutex& load_mutex() {
  static std::mutex mutex;
  return mutex;
}

/// tvm_ffi's table of functions by name has no lock of its own, and programs look up what they call
/// when they first call it. So calls hold the table as readers, and what is loaded is added when no
/// call goes on.
class FunctionTable {
 public:
  static std::shared_lock<std::shared_mutex> read() {
    std::lock_guard<std::mutex> behind_writers(gate());
    return std::shared_lock<std::shared_mutex>(table());
  }

  /// The caller holds load_mutex() and has seen that there is no such function.
  static void add(const std::string& name, const tvm::ffi::Function& function) {
    std::lock_guard<std::mutex> no_new_readers(gate());  // or calls without end keep it waiting
    std::unique_lock<std::shared_mutex> lock(table());
    tvm::ffi::Function::SetGlobal(name, function);
  }

 private:
  static std::mutex& gate() {
    static std::mutex mutex;
    return mutex;
  }

  static std::shared_mutex& table() {
    static std::shared_mutex mutex;
    return mutex;
  }
};

inline bool has_runtime() {
  return tvm::ffi::Function::GetGlobal("runtime.config_threadpool").has_value();
}

/// The folder of libtvm_ffi.so.
inline std::string ffi_folder() {
  Dl_info info;
  const auto function = reinterpret_cast<const void*>(&TVMFFIFunctionGetGlobal);
  if (dladdr(function, &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string path = info.dli_fname;
  return path.find('/') == std::string::npos ? "." : path.substr(0, path.rfind('/'));
}

}  // namespace detail

/// Loads TVM's runtime, unless it is there.
///
/// @param path of libtvm_runtime.so or of its folder; "" to look for it.
inline void load_runtime(const std::string& path = "") {
  // TVM would otherwise pin the calling thread to one core for good. Idle workers that spin for
  // long take the cores of others.
  setenv("TVM_BIND_THREADS", "0", 0);
  setenv("TVM_THREAD_POOL_SPIN_COUNT", "1000", 0);
  if (detail::has_runtime()) return;
  const std::string name = "libtvm_runtime.so", folder = detail::ffi_folder();
  std::vector<std::string> paths = {name, folder + "/" + name, folder + "/../../tvm/lib/" + name};
  const char* variable = std::getenv("TVM_EQUI_RUNTIME");  // the library, or a folder that has it
  const std::string chosen = path.empty() && variable != nullptr ? variable : path;
  if (!chosen.empty()) paths = {chosen, chosen + "/" + name};
  std::string reasons;
  for (const std::string& each : paths) {
    if (dlopen(each.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr && detail::has_runtime()) return;
    const char* reason = dlerror();
    reasons += (reasons.empty() ? "" : "; ") + std::string(reason == nullptr ? each : reason);
  }
  detail::refuse("load", name + " of TVM", "none (" + reasons + ")",
                 "link it, or set TVM_EQUI_RUNTIME to the folder that has it");
}

namespace detail {

/// What programs call when an index is out of range; the same as in Python (deploy/index_error.py).
inline void register_index_error() {
  static constexpr const char* kName = "tvm_equi.index_error";
  if (tvm::ffi::Function::GetGlobal(kName)) return;
  const auto raise = [](const tvm::ffi::String& what, int64_t count, int64_t index) {
    throw tvm::ffi::Error("IndexError",
                          std::string(what) + ": expected numbers from 0 to " +
                              std::to_string(count - 1) + ", got " + std::to_string(index),
                          "");
  };
  FunctionTable::add(kName, tvm::ffi::Function::FromTyped(raise));
}

/// Threads of the parallel loops that are called from this thread.
///
/// TVM has a pool of workers for each calling thread, which never grows: the first call makes it as
/// large as the largest number of threads that any model was loaded with.
class Threads {
 public:
  static constexpr int kMost = 1024;  // a pool starts all of its threads when it is made

  /// Makes room for `count` threads in pools to come.
  static void expect(int count) {
    std::atomic<int>& most = most_expected();
    int before = most.load();
    while (before < count && !most.compare_exchange_weak(before, count)) {
    }
  }

  static void use(const std::string& where, int count) {
    struct Local {
      int pool = 0, count = 0;
      pid_t process = 0;
    };
    static thread_local Local local;
    const pid_t process = getpid();
    if (local.process != 0 && local.process != process)
      count = 1;  // a fork has none of the workers
    if (local.count == count) return;
    if (local.pool == 0) {
      const int pool = std::max(count, most_expected().load());
      configure(pool, pool);
      local.pool = pool;
      local.process = process;
    }
    if (count > local.pool) {
      refuse(where + ": threads",
             "at most " + std::to_string(local.pool) + ", which this thread's first call took",
             std::to_string(count), "load the model with the most threads before the first call");
    }
    configure(count, count);
    local.count = count;
  }

 private:
  static std::atomic<int>& most_expected() {
    static std::atomic<int> most{1};
    return most;
  }

  static void configure(int count, int num_cores) {
    static const tvm::ffi::Function function = [] {
      std::lock_guard<std::mutex> lock(load_mutex());
      return tvm::ffi::Function::GetGlobalRequired("runtime.config_threadpool");
    }();
    constexpr int kShareAllCores = -3;  // workers may run on any core
    tvm::ffi::Array<tvm::ffi::String> cores;
    for (int core = 0; core < num_cores; ++core) cores.push_back(std::to_string(core));
    function(kShareAllCores, count, cores);
  }
};

}  // namespace detail
}  // namespace tvm_equi
