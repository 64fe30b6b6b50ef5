// A model file's outer layer: header, manifest, sections, checksums (docs/format.md).
//
// In: a path. Out: the manifest as JSON data, and sections by name. Everything is checked before it
// is given out: sizes, padding, names of sections, and the SHA-256 of every byte.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "error.hpp"
#include "fields.hpp"
#include "json.hpp"
#include "sha256.hpp"

namespace tvm_equi {

namespace detail {

inline constexpr std::string_view kMagic("\x89TVMEQ\r\n", 8);
inline constexpr uint32_t kContainerVersion = 1;
inline constexpr std::string_view kSchemaKey = "tvm_equi_model";
inline constexpr int64_t kSchema = 1;
inline constexpr uint64_t kHeaderSize = 96, kAlignment = 64, kMaxManifest = uint64_t(16) << 20;

template <typename T>
T little_endian(const unsigned char* data) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) value = T(value << 8) | T(data[i]);
  return value;
}

inline bool is_digest(const unsigned char* found, const void* bytes, size_t size) {
  return std::memcmp(found, sha256(bytes, size).data(), 32) == 0;
}

/// The size of the manifest, after the header was checked. `file_size` is what there really is.
inline uint64_t check_header(const std::string& where, const unsigned char* header,
                             uint64_t file_size) {
  if (!is_digest(header + 64, header, 64)) {
    refuse(where + ": header", "its sha256 to be right", "another");
  }
  const auto version = little_endian<uint32_t>(header + 8);
  if (version != kContainerVersion) {
    refuse(where + ": version", std::to_string(kContainerVersion), std::to_string(version),
           version > kContainerVersion ? "update tvm_equi" : "");
  }
  if (const auto zero = little_endian<uint32_t>(header + 12); zero != 0) {
    refuse(where + ": header", "zero in bytes 12 to 15", std::to_string(zero));
  }
  const auto size = little_endian<uint64_t>(header + 16);
  if (size != file_size) {
    refuse(where + ": size", std::to_string(size) + " bytes", std::to_string(file_size));
  }
  const auto manifest_size = little_endian<uint64_t>(header + 24);
  if (manifest_size > kMaxManifest || manifest_size > size - kHeaderSize) {
    refuse(where + ": manifest",
           "at most " + std::to_string(std::min(kMaxManifest, size - kHeaderSize)) + " bytes",
           std::to_string(manifest_size));
  }
  return manifest_size;
}

/// Whether a name is one of a section: parts of letters, digits and `_ . -`, none of them "." or
/// "..".
inline bool is_section_name(std::string_view name) {
  if (name.size() > kMaxName) return false;
  size_t start = 0;
  while (true) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    for (char c : part) {
      const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (!is_letter && !(c >= '0' && c <= '9') && c != '_' && c != '.' && c != '-') return false;
    }
    if (end == name.size()) return true;
    start = end + 1;
  }
}

inline uint64_t aligned(uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace detail

/// A checked model file in memory. Copies share the memory.
class Container {
 public:
  /// Reads a file.
  static Container read(const std::string& path) {
    const std::string where = "load: " + path;
    detail::OpenFile file(where, path);
    unsigned char header[detail::kHeaderSize] = {};
    file.read_into(header, std::min(file.size(), sizeof header));
    check_start(where, header, file.size());
    detail::check_header(where, header, file.size());
    detail::Buffer buffer(where, file.size());
    std::memcpy(buffer.data(), header, sizeof header);
    file.read_into(buffer.data() + sizeof header, file.size() - sizeof header);
    return Container(where, std::move(buffer));
  }

  /// Takes the content of a file. `where` names it in errors.
  static Container parse(const std::string& where, std::string_view bytes) {
    check_start(where, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    return Container(where, detail::Buffer::copy(where, bytes));
  }

  /// What errors start with.
  const std::string& where() const { return where_; }
  const Json& manifest() const { return manifest_; }
  size_t size() const { return buffer_->size(); }
  bool has(std::string_view name) const { return sections_.find(name) != sections_.end(); }

  /// The bytes of a section, which start at a multiple of 64.
  std::string_view section(std::string_view name) const { return find(name).bytes; }

  /// The SHA-256 of a section, in hex.
  const std::string& digest(std::string_view name) const { return find(name).sha256; }

  /// Keeps the memory of the sections alive.
  std::shared_ptr<const void> memory() const { return buffer_; }

 private:
  struct Section {
    std::string_view bytes;
    std::string sha256;
  };

  Container(std::string where, detail::Buffer buffer)
      : where_(std::move(where)), buffer_(std::make_shared<detail::Buffer>(std::move(buffer))) {
    const unsigned char* data = buffer_->data();
    const uint64_t size = detail::check_header(where_, data, buffer_->size());
    if (!detail::is_digest(data + 32, data + detail::kHeaderSize, size)) {
      detail::refuse(where_ + ": manifest", "the header's sha256", "another");
    }
    const std::string_view text = buffer_->view().substr(detail::kHeaderSize, size);
    manifest_ = parse_json(where_ + ": manifest", text);
    check_schema();  // first: a newer schema may write JSON in another way
    if (canonical_json(manifest_) != text) {
      detail::refuse(where_ + ": manifest", "sorted keys and no spaces", "another form");
    }
    read_sections(detail::kHeaderSize + size);
  }

  /// Refuses what is no model file by its first bytes, and what is shorter than a header.
  static void check_start(const std::string& where, const unsigned char* data, size_t size) {
    const std::string_view magic(reinterpret_cast<const char*>(data), std::min<size_t>(size, 8));
    if (magic.empty() || magic != detail::kMagic.substr(0, magic.size())) {
      detail::refuse(where + ": magic", "89 54 56 4D 45 51 0D 0A",
                     magic.empty() ? "nothing" : "other bytes", "this is no model file");
    }
    if (size < detail::kHeaderSize) {
      detail::refuse(where + ": header", "96 bytes", std::to_string(size));
    }
  }

  void check_schema() const {
    const detail::Field manifest(manifest_, where_ + ": manifest");
    const detail::Field schema = manifest[detail::kSchemaKey];
    if (!schema.is_number() || schema.number(INT64_MIN) != detail::kSchema) {
      const bool is_newer = schema.is_number() && schema.number(INT64_MIN) > detail::kSchema;
      schema.fail("schema 1", is_newer ? "update tvm_equi" : "");
    }
  }

  /// Checks sections, which follow `end` in the order of the manifest with nothing else between.
  void read_sections(uint64_t end) {
    const detail::Field table = detail::Field(manifest_, where_ + ": manifest")["sections"];
    for (size_t i = 0; i < table.size(); ++i) {
      const detail::Field field = table[i].only({"name", "offset", "size", "sha256"});
      const std::string& name = field["name"].text();
      if (!detail::is_section_name(name)) {
        field["name"].fail(
            "parts of letters, digits and _ . - with / between, none of them '.' or '..'");
      }
      const auto offset = uint64_t(field["offset"].number());
      const auto size = uint64_t(field["size"].number());
      const uint64_t start = detail::aligned(end);
      if (offset != start) {
        field["offset"].fail(std::to_string(start) + ", where the part before it ends");
      }
      if (start > buffer_->size() || size > buffer_->size() - start) {
        field["size"].fail("to end within the file's " + std::to_string(buffer_->size()) +
                           " bytes");
      }
      const std::string here = where_ + ": " + name;
      for (uint64_t byte = end; byte < start; ++byte) {
        if (buffer_->data()[byte] != 0) detail::refuse(here, "zero bytes before it", "others");
      }
      const Section section{buffer_->view().substr(start, size), field["sha256"].digest()};
      if (hex(sha256(section.bytes.data(), size)) != section.sha256) {
        detail::refuse(here, "the manifest's sha256", "another");
      }
      if (!sections_.emplace(name, section).second) field["name"].fail("each name once");
      end = start + size;
    }
    if (end != buffer_->size()) {
      detail::refuse(where_ + ": size", std::to_string(end) + " bytes by the manifest",
                     std::to_string(buffer_->size()));
    }
  }

  const Section& find(std::string_view name) const {
    const auto found = sections_.find(name);
    if (found == sections_.end())
      detail::refuse(where_, "a section " + detail::shown(name), "none");
    return found->second;
  }

  std::string where_;
  std::shared_ptr<detail::Buffer> buffer_;
  Json manifest_;
  std::map<std::string, Section, std::less<>> sections_;
};

}  // namespace tvm_equi
