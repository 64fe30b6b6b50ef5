// Libraries of code from a checked model file, loaded.
//
// In: sections. Out: functions. A library is written to a private folder, loaded and removed. A
// kernel's function is registered with tvm_ffi under the SHA-256 of its library, where programs
// find it; it is loaded once for all models of a process, and stays.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "container.hpp"
#include "error.hpp"
#include "runtime.hpp"

namespace tvm_equi {

namespace detail {

inline constexpr std::string_view kKernelFunction = "tvm_equi_kernel";
inline constexpr std::string_view kKernelPrefix = "tvm_equi.kernel.";

/// A folder for libraries that nobody else can write to; it goes at the end of its scope.
class PrivateFolder {
 public:
  explicit PrivateFolder(const std::string& where) {
    const char* chosen = std::getenv("TMPDIR");
    for (const char* parent : {chosen, "/tmp", "/dev/shm", "/var/tmp"}) {
      struct statvfs status;
      if (parent == nullptr || *parent == '\0' || statvfs(parent, &status) != 0) continue;
      if ((status.f_flag & ST_NOEXEC) != 0) continue;
      std::string pattern = std::string(parent) + "/tvm_equi_XXXXXX";
      if (mkdtemp(pattern.data()) != nullptr) {
        path_ = pattern;
        return;
      }
    }
    refuse(where, "a temporary folder that libraries can be loaded from", "none", "set TMPDIR");
  }
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;
  ~PrivateFolder() { rmdir(path_.c_str()); }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A file of a private folder; it goes at the end of its scope.
class PrivateFile {
 public:
  PrivateFile(const std::string& where, std::string path, std::string_view bytes)
      : path_(std::move(path)) {
    const int file = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0500);
    bool is_done = file >= 0;
    while (is_done && !bytes.empty()) {
      const ssize_t count = write(file, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      is_done = count > 0;
      if (is_done) bytes.remove_prefix(size_t(count));
    }
    const std::string reason = std::strerror(errno);
    if (file >= 0) close(file);
    if (!is_done) {
      unlink(path_.c_str());
      refuse(where, "room for a library in " + path_, reason, "set TMPDIR");
    }
  }
  PrivateFile(const PrivateFile&) = delete;
  PrivateFile& operator=(const PrivateFile&) = delete;
  ~PrivateFile() { unlink(path_.c_str()); }

 private:
  std::string path_;
};

/// Runs a function of tvm_ffi; its error becomes one of ours, and a lack of memory, too.
template <typename F>
auto with_context(const std::string& where, F&& function) {
  try {
    return function();
  } catch (const tvm::ffi::Error& error) {
    throw Error(where + ": " + error.kind() + ": " + error.what());
  } catch (const std::bad_alloc&) {
    refuse(where, "more memory", "no more");
  }
}

}  // namespace detail

/// Loads libraries of one file. load_runtime() and load_mutex() are the caller's.
class LibraryLoader {
 public:
  explicit LibraryLoader(const Container& container)
      : container_(container), folder_(container.where()) {}

  /// A library as a module, a new one at each call.
  tvm::ffi::Module module(std::string_view section) {
    const std::string where = container_.where() + ": " + std::string(section);
    const std::string path = folder_.path() + "/" + std::to_string(num_loaded_++) + ".so";
    detail::PrivateFile file(where, path, container_.section(section));
    return detail::with_context(where, [&] { return tvm::ffi::Module::LoadFromFile(path); });
  }

  /// The function of a kernel's library, which is registered too.
  tvm::ffi::Function kernel(std::string_view section) {
    const std::string digest = container_.digest(section).substr(0, 32);
    const std::string name = std::string(detail::kKernelPrefix) + digest;
    if (auto found = tvm::ffi::Function::GetGlobal(name)) return *found;
    const tvm::ffi::Module library = module(section);
    auto function = library->GetFunction(std::string(detail::kKernelFunction));
    if (!function.has_value()) {
      detail::refuse(container_.where() + ": " + std::string(section),
                     "a function " + std::string(detail::kKernelFunction), "none");
    }
    detail::FunctionTable::add(name, function.value());  // which keeps the library
    return function.value();
  }

 private:
  const Container& container_;
  detail::PrivateFolder folder_;
  int num_loaded_ = 0;
};

}  // namespace tvm_equi
