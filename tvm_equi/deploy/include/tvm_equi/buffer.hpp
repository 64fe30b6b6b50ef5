// A block of memory with the content of a file, aligned to pages.
//
// The file is read, not mapped: what was checked can then not change under our hands, and a file
// that is truncated later ends no process with SIGBUS. 60 MB take about 20 ms.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "error.hpp"

namespace tvm_equi::detail {

class Buffer {
 public:
  Buffer(const std::string& where, size_t size) : size_(size) {
    void* found = mmap(nullptr, size > 0 ? size : 1, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) {
      refuse(where, std::to_string(size) + " bytes of memory", std::strerror(errno));
    }
    data_ = static_cast<unsigned char*>(found);
    if (size >= kHugePage) madvise(data_, size, MADV_HUGEPAGE);
  }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() {
    if (data_ != nullptr) munmap(data_, size_ > 0 ? size_ : 1);
  }

  unsigned char* data() { return data_; }
  const unsigned char* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }

  static Buffer copy(const std::string& where, std::string_view bytes) {
    Buffer buffer(where, bytes.size());
    if (!bytes.empty()) std::memcpy(buffer.data_, bytes.data(), bytes.size());
    return buffer;
  }

 private:
  static constexpr size_t kHugePage = size_t(1) << 21;

  unsigned char* data_;
  size_t size_;
};

/// An open file that is closed at the end of its scope.
class OpenFile {
 public:
  OpenFile(const std::string& where, const std::string& path)
      : where_(where), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0) refuse(where, "a file that can be read", std::strerror(errno));
    struct stat status;
    const bool is_file = fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
    if (!is_file) {
      close(descriptor_);
      refuse(where, "a file", "something else, such as a folder");
    }
    size_ = size_t(status.st_size);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() { close(descriptor_); }

  size_t size() const { return size_; }

  /// The next `size` bytes.
  void read_into(unsigned char* data, size_t size) {
    while (size > 0) {
      const ssize_t count = read(descriptor_, data, size);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        refuse(where_, std::to_string(size_) + " bytes",
               count == 0 ? "a file that shrinks as it is read" : std::strerror(errno));
      }
      data += count;
      size -= size_t(count);
    }
  }

 private:
  std::string where_;
  int descriptor_;
  size_t size_ = 0;
};

}  // namespace tvm_equi::detail
