#include "kernel.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <tvm_equi/error.hpp>

namespace tvm_equi::torch_ops {

namespace {

namespace ffi = tvm::ffi;

constexpr int kShareAllCores = -3;  // TVM's mode in which workers may run on any of the given cores
std::atomic<bool> is_forked{false};
thread_local int current_threads = 0;

/// Names of some cores; TVM takes their number as the most threads that it may use.
ffi::Array<ffi::String> cores(int count) {
  ffi::Array<ffi::String> names;
  for (int core = 0; core < count; ++core) names.push_back(ffi::String(std::to_string(core)));
  return names;
}

void configure(int threads, int count) {
  static const ffi::Function function = ffi::Function::GetGlobalRequired("runtime.config_threadpool");
  function(kShareAllCores, threads, cores(count));
}

void become_serial() {
  is_forked = true;
  // The pool of the forking thread is dead here: a limit of one thread makes TVM bypass it.
  if (current_threads != 0) {
    configure(1, 1);
    current_threads = 1;
  }
}

/// Makes parallel loops called from this thread use some threads.
void use_threads(int count) {
  if (is_forked) count = 1;
  if (current_threads == count) return;
  if (current_threads == 0) {  // the first call makes the pool, and a pool never grows
    configure(0, std::max(count, int(std::thread::hardware_concurrency())));
  }
  configure(count, count);
  current_threads = count;
}

/// Makes TVM's runtime ready: kernels look for its parallel loops among the symbols of the process.
void prepare_runtime() {
  static std::once_flag once;
  std::call_once(once, [] {
    // TVM would otherwise pin the calling thread to one core for good, torch's own work included.
    setenv("TVM_BIND_THREADS", "0", 0);
    // Idle workers that spin for long take the cores that torch's own workers need.
    setenv("TVM_THREAD_POOL_SPIN_COUNT", "1000", 0);
    dlopen("libtvm_runtime.so", RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
    pthread_atfork(nullptr, nullptr, become_serial);
  });
}

DLDataType dl_dtype(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return {kDLFloat, 32, 1};
    case DType::float64:
      return {kDLFloat, 64, 1};
    default:
      return {kDLInt, 64, 1};
  }
}

class CompiledKernel : public Kernel {
 public:
  explicit CompiledKernel(ffi::Function function) : function_(std::move(function)) {}

  void operator()(const std::vector<Array>& arrays, int threads) const override {
    std::vector<DLTensor> tensors(arrays.size());
    std::vector<ffi::AnyView> arguments(arrays.size());
    for (size_t i = 0; i < arrays.size(); ++i) {
      const Array& array = arrays[i];
      tensors[i] = {array.data,
                    {kDLCPU, 0},
                    int32_t(array.shape.size()),
                    dl_dtype(array.dtype),
                    const_cast<int64_t*>(array.shape.data()),
                    nullptr,
                    0};
      arguments[i] = &tensors[i];
    }
    use_threads(threads);
    ffi::Any result;
    function_.CallPacked(arguments.data(), int32_t(arguments.size()), &result);
  }

 private:
  ffi::Function function_;
};

/// A file with some bytes that only this user may read, which goes with this object.
class PrivateFile {
 public:
  PrivateFile(const std::string& where, std::string_view bytes) {
    const char* base = std::getenv("TMPDIR");
    folder_ = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/tvm_equi-XXXXXX";
    if (mkdtemp(folder_.data()) == nullptr) {
      detail::refuse(where, "a folder for temporary files that can be written", folder_,
                     "set TMPDIR to one");
    }
    path_ = folder_ + "/library.so";
    std::FILE* file = std::fopen(path_.c_str(), "wb");
    const bool is_open = file != nullptr;
    const bool is_written = is_open && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    if (!is_open || std::fclose(file) != 0 || !is_written) {
      remove();
      detail::refuse(where, "room for " + std::to_string(bytes.size()) + " bytes in " + folder_,
                     "none", "set TMPDIR to another folder");
    }
  }
  PrivateFile(const PrivateFile&) = delete;
  PrivateFile& operator=(const PrivateFile&) = delete;
  ~PrivateFile() { remove(); }

  const std::string& path() const { return path_; }

 private:
  void remove() {
    unlink(path_.c_str());
    rmdir(folder_.c_str());
  }

  std::string folder_, path_;
};

}  // namespace

std::shared_ptr<const Kernel> load_kernel(const std::string& where, std::string_view library) {
  prepare_runtime();
  PrivateFile file(where, library);
  ffi::Optional<ffi::Function> function;
  try {
    function = ffi::Module::LoadFromFile(file.path())->GetFunction("tvm_equi_kernel");
  } catch (const ffi::Error& error) {
    detail::refuse(where, "a library of this machine", error.what());
  }
  if (!function.has_value()) detail::refuse(where, "the function tvm_equi_kernel", "none");
  return std::make_shared<CompiledKernel>(*function);
}

}  // namespace tvm_equi::torch_ops
