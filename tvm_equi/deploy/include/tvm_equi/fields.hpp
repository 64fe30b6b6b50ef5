// Fields of JSON data, checked: in the types that were asked for, none missing, none unknown.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json.hpp"

namespace tvm_equi::detail {

inline constexpr size_t kMaxName = 255;

inline std::string joined(std::initializer_list<std::string_view> texts) {
  std::string out;
  for (std::string_view text : texts) out.append(out.empty() ? "" : ", ").append(text);
  return out;
}

/// One value of a JSON text, and the words that name it in errors.
class Field {
 public:
  Field(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {}

  const std::string& where() const { return where_; }

  [[noreturn]] void fail(std::string_view expected, std::string_view next_step = {}) const {
    refuse(where_, expected, json_->kind(), next_step);
  }

  const std::string& text() const {
    if (json_->text() == nullptr) fail("a text");
    return *json_->text();
  }

  std::optional<std::string> text_or_null() const {
    if (json_->is_null()) return std::nullopt;
    if (json_->text() == nullptr) fail("a text or null");
    return *json_->text();
  }

  int64_t number(int64_t least = 0, int64_t most = INT64_MAX) const {
    const int64_t* found = json_->number();
    if (found == nullptr || *found < least || *found > most) {
      fail("a number from " + std::to_string(least) +
           (most == INT64_MAX ? " to 2^63 - 1" : " to " + std::to_string(most)));
    }
    return *found;
  }

  bool is_number() const { return json_->number() != nullptr; }
  bool is_list() const { return json_->list() != nullptr; }

  /// A function of each item of a list.
  template <typename F>
  auto each(F&& read) const {
    std::vector<decltype(read(*this))> out;
    out.reserve(size());
    for (size_t i = 0; i < size(); ++i) out.push_back(read((*this)[i]));
    return out;
  }

  size_t size() const { return list().size(); }
  Field operator[](size_t i) const {
    return Field(list().at(i), where_ + "[" + std::to_string(i) + "]");
  }

  /// A function of each key and value of an object whose keys are free.
  template <typename F>
  void each_pair(F&& read) const {
    for (const auto& [key, value] : object()) read(key, Field(value, where_ + ": " + shown(key)));
  }

  /// Refuses an object with other keys than these, or without one of them.
  const Field& only(std::initializer_list<std::string_view> keys) const {
    for (std::string_view key : keys) (*this)[key];
    for (const auto& [key, value] : object()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
        refuse(where_, joined(keys) + " only", shown(key));
      }
    }
    return *this;
  }

  bool has(std::string_view key) const {
    return json_->object() != nullptr && object().find(key) != object().end();
  }

  Field operator[](std::string_view key) const {
    const auto found = object().find(key);
    if (found == object().end()) refuse(where_, key, "none");
    return Field(found->second, where_ + ": " + std::string(key));
  }

  /// A text that is one of a few.
  const std::string& choice(std::initializer_list<std::string_view> choices) const {
    const std::string* found = json_->text();
    if (found == nullptr || std::find(choices.begin(), choices.end(), *found) == choices.end()) {
      fail("one of " + joined(choices));
    }
    return *found;
  }

  /// A text whose characters are all in `allowed` and whose first is not in `not_first`.
  const std::string& name(std::string_view what, std::string_view allowed,
                          std::string_view not_first = {}) const {
    const std::string& found = text();
    if (found.empty() || found.size() > kMaxName ||
        found.find_first_not_of(allowed) != std::string::npos ||
        not_first.find(found.front()) != std::string_view::npos) {
      fail(what);
    }
    return found;
  }

  /// A digest in lower-case hex.
  const std::string& digest() const {
    const std::string& found = name("64 hexadecimal digits", "0123456789abcdef");
    if (found.size() != 64) fail("64 hexadecimal digits");
    return found;
  }

 private:
  const JsonObject& object() const {
    if (json_->object() == nullptr) fail("an object");
    return *json_->object();
  }

  const JsonList& list() const {
    if (json_->list() == nullptr) fail("a list");
    return *json_->list();
  }

  const Json* json_;
  std::string where_;
};

/// Refuses a list of names with one that is there twice.
inline void check_unique(const std::string& where, std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) refuse(where, "each name once", shown(*twice) + " twice");
}

}  // namespace tvm_equi::detail
