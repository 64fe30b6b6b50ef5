// Tensors by name from the safetensors format, as views of the file.
//
// Refused, with the tensor's name: tensors that overlap, leave holes or do not fill their part, and
// dtypes that are not known.
// Source: the format's specification, github.com/huggingface/safetensors, README.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "container.hpp"
#include "error.hpp"
#include "fields.hpp"

namespace tvm_equi {

struct TensorEntry {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string_view bytes;
};

namespace detail {

inline constexpr uint64_t kMaxTensorsHeader = 100'000'000;  // of the format's own reader

struct DtypeCode {
  std::string_view code, dtype;
  int64_t num_bytes;
};
inline constexpr DtypeCode kDtypeCodes[] = {
    {"BOOL", "bool", 1},   {"U8", "uint8", 1},   {"I8", "int8", 1},     {"I16", "int16", 2},
    {"I32", "int32", 4},   {"I64", "int64", 8},  {"F16", "float16", 2}, {"BF16", "bfloat16", 2},
    {"F32", "float32", 4}, {"F64", "float64", 8}};

/// The entry of one tensor, and where it starts and ends.
inline std::pair<TensorEntry, std::pair<uint64_t, uint64_t>> read_tensor(const Field& field) {
  field.only({"dtype", "shape", "data_offsets"});
  const std::string& code =
      field["dtype"].choice({"BOOL", "U8", "I8", "I16", "I32", "I64", "F16", "BF16", "F32", "F64"});
  const DtypeCode& known = *std::find_if(std::begin(kDtypeCodes), std::end(kDtypeCodes),
                                         [&](const DtypeCode& item) { return item.code == code; });
  TensorEntry entry{std::string(known.dtype), {}, {}};
  entry.shape = field["shape"].each([](const Field& item) { return item.number(); });
  if (entry.shape.size() > 64) field["shape"].fail("at most 64 sizes");
  const auto offsets = field["data_offsets"].each([](const Field& item) { return item.number(); });
  if (offsets.size() != 2 || offsets[0] > offsets[1]) field["data_offsets"].fail("[start, end]");
  int64_t size = known.num_bytes;
  for (int64_t length : entry.shape) {  // those beside a zero are bounded, too, as numpy has it
    if (__builtin_mul_overflow(size, std::max<int64_t>(length, 1), &size))
      field["shape"].fail("fewer elements");
  }
  const bool is_empty = std::find(entry.shape.begin(), entry.shape.end(), 0) != entry.shape.end();
  if (is_empty) size = 0;
  if (offsets[1] - offsets[0] != size) {
    refuse(field["data_offsets"].where(), std::to_string(size) + " bytes",
           std::to_string(offsets[1] - offsets[0]));
  }
  return {std::move(entry), {uint64_t(offsets[0]), uint64_t(offsets[1])}};
}

}  // namespace detail

/// The tensors of a file, views of `data`. `where` names the file in errors.
inline std::map<std::string, TensorEntry> read_tensors(const std::string& where,
                                                       std::string_view data) {
  using detail::refuse;
  if (data.size() < 8) refuse(where, "8 bytes or more", std::to_string(data.size()));
  const auto length =
      detail::little_endian<uint64_t>(reinterpret_cast<const unsigned char*>(data.data()));
  const uint64_t most = std::min<uint64_t>(detail::kMaxTensorsHeader, data.size() - 8);
  if (length > most) {
    refuse(where + ": header", "at most " + std::to_string(most) + " bytes",
           std::to_string(length));
  }
  const std::string_view text = data.substr(8, length), rest = data.substr(8 + length);
  if (text.empty() || text.front() != '{') refuse(where + ": header", "'{'", "another start");
  const Json header = parse_json(where + ": header", text);
  std::map<std::string, TensorEntry> tensors;
  std::vector<std::pair<std::pair<uint64_t, uint64_t>, std::string>> parts;
  detail::Field(header, where).each_pair([&](const std::string& name, const detail::Field& field) {
    if (name == "__metadata__") {
      field.each_pair([](const std::string&, const detail::Field& item) { item.text(); });
      return;
    }
    auto [entry, range] = detail::read_tensor(field);
    parts.emplace_back(range, name);
    tensors.emplace(name, std::move(entry));
  });
  std::sort(parts.begin(), parts.end());
  uint64_t end = 0;
  for (const auto& [range, name] : parts) {
    if (range.first != end) {
      refuse(where + ": " + detail::shown(name) + ": data_offsets",
             "to start at " + std::to_string(end) + ", where the tensor before it ends",
             std::to_string(range.first));
    }
    end = range.second;
    if (end > rest.size()) break;
    TensorEntry& entry = tensors.at(name);
    entry.bytes = rest.substr(range.first, end - range.first);
    if (entry.dtype == "bool") {
      for (char c : entry.bytes) {
        if (uint8_t(c) > 1)
          refuse(where + ": " + detail::shown(name), "bytes 0 and 1 for bool", "others");
      }
    }
  }
  if (end != rest.size()) {
    refuse(where, std::to_string(end) + " bytes of tensors", std::to_string(rest.size()));
  }
  return tensors;
}

}  // namespace tvm_equi
