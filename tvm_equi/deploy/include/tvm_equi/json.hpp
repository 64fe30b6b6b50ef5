// JSON from a file that nobody vouches for.
//
// In: a text. Out: data. Refused: text that is not UTF-8 or not JSON, a key given twice, a number
// that is no whole number of 64 bits, nesting deeper than a manifest's. (tvm_ffi's own parser
// recurses without a limit and keeps one of two equal keys in silence.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "error.hpp"

namespace tvm_equi {

class Json;
using JsonList = std::vector<Json>;
using JsonObject = std::map<std::string, Json, std::less<>>;

/// A value of JSON's types, its numbers whole.
class Json {
 public:
  Json() = default;
  template <typename T>
  explicit Json(T value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  const bool* truth() const { return std::get_if<bool>(&value_); }
  const int64_t* number() const { return std::get_if<int64_t>(&value_); }
  const std::string* text() const { return std::get_if<std::string>(&value_); }
  const JsonList* list() const { return std::get_if<JsonList>(&value_); }
  const JsonObject* object() const { return std::get_if<JsonObject>(&value_); }

  /// What it is, for messages.
  std::string kind() const {
    if (is_null()) return "null";
    if (truth() != nullptr) return *truth() ? "true" : "false";
    if (number() != nullptr) return std::to_string(*number());
    if (text() != nullptr) return detail::shown(*text());
    if (list() != nullptr) return "a list of " + std::to_string(list()->size());
    return "an object with " + std::to_string(object()->size()) + " keys";
  }

 private:
  std::variant<std::nullptr_t, bool, int64_t, std::string, JsonList, JsonObject> value_ = nullptr;
};

namespace detail {

/// The length of the UTF-8 sequence at the start of a text, 0 where there is none that is valid.
inline size_t utf8_length(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t(0); };
  const auto is_rest = [&](size_t i) { return (at(i) & 0xc0) == 0x80; };
  const uint8_t c = at(0);
  if (c < 0x80) return 1;
  if (c >= 0xc2 && c <= 0xdf) return is_rest(1) ? 2 : 0;
  if (c >= 0xe0 && c <= 0xef) {
    if ((c == 0xe0 && at(1) < 0xa0) || (c == 0xed && at(1) > 0x9f)) return 0;
    return is_rest(1) && is_rest(2) ? 3 : 0;
  }
  if (c >= 0xf0 && c <= 0xf4) {
    if ((c == 0xf0 && at(1) < 0x90) || (c == 0xf4 && at(1) > 0x8f)) return 0;
    return is_rest(1) && is_rest(2) && is_rest(3) ? 4 : 0;
  }
  return 0;
}

class JsonParser {
 public:
  JsonParser(std::string_view where, std::string_view text) : where_(where), text_(text) {}

  Json parse() {
    Json value = parse_value(0);
    skip_spaces();
    if (at_ != text_.size()) fail("the end of the text");
    return value;
  }

 private:
  static constexpr int kMaxDepth = 32;
  static constexpr size_t kMaxValues = 1'000'000;  // bounds the memory that a text can ask for

  [[noreturn]] void fail(std::string_view expected) const {
    const std::string_view rest = text_.substr(at_);
    refuse(std::string(where_) + ": JSON: character " + std::to_string(at_), expected,
           rest.empty() ? "the end of the text" : shown(rest, 12));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void skip_spaces() {
    while (at_ < text_.size() &&
           std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }

  Json parse_value(int depth) {
    if (depth > kMaxDepth)
      fail("at most " + std::to_string(kMaxDepth) + " lists within one another");
    if (++num_values_ > kMaxValues) fail("at most " + std::to_string(kMaxValues) + " values");
    skip_spaces();
    switch (peek()) {
      case '{':
        return parse_object(depth);
      case '[':
        return parse_list(depth);
      case '"':
        return Json(parse_text());
      case 't':
        return parse_word("true", Json(true));
      case 'f':
        return parse_word("false", Json(false));
      case 'n':
        return parse_word("null", Json());
      default:
        return parse_number();
    }
  }

  Json parse_word(std::string_view word, Json value) {
    if (text_.substr(at_, word.size()) != word) fail("a value");
    at_ += word.size();
    return value;
  }

  Json parse_number() {
    const size_t start = at_;
    const bool is_negative = take('-');
    const size_t first = at_;
    uint64_t magnitude = 0;
    const uint64_t limit = uint64_t(INT64_MAX);
    while (peek() >= '0' && peek() <= '9') {
      const uint64_t digit = uint64_t(peek() - '0');
      if (magnitude > (limit - digit) / 10) {
        at_ = start;
        fail("a whole number below 2**63");
      }
      magnitude = magnitude * 10 + digit;
      ++at_;
    }
    const bool has_leading_zero = at_ > first + 1 && text_[first] == '0';
    if (at_ == first || has_leading_zero || peek() == '.' || peek() == 'e' || peek() == 'E') {
      at_ = start;
      fail(first == start && peek() != '-' && (peek() < '0' || peek() > '9') ? "a value"
                                                                             : "a whole number");
    }
    return Json(is_negative ? -int64_t(magnitude) : int64_t(magnitude));
  }

  std::string parse_text() {
    const size_t start = at_;
    ++at_;  // the quote
    std::string out;
    while (true) {
      if (at_ >= text_.size()) {
        at_ = start;
        fail("a text that ends");
      }
      const uint8_t c = uint8_t(text_[at_]);
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c < 0x20) fail("no control character in a text");
      if (c == '\\') {
        parse_escape(out);
        continue;
      }
      const size_t length = utf8_length(text_.substr(at_));
      if (length == 0) fail("UTF-8");
      out.append(text_, at_, length);
      at_ += length;
    }
  }

  void parse_escape(std::string& out) {
    static constexpr std::string_view kNames = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    const size_t start = at_;
    ++at_;
    const char name = peek();
    const size_t found = at_ < text_.size() ? kNames.find(name) : std::string_view::npos;
    if (found != std::string_view::npos) {
      ++at_;
      out.push_back(kMeant[found]);
      return;
    }
    uint32_t code = parse_code(start);
    if (code >= 0xd800 && code < 0xdc00) {  // the first half of a pair
      const uint32_t second = take('\\') ? parse_code(start) : 0;
      if (second < 0xdc00 || second > 0xdfff) {
        at_ = start;
        fail("two halves of a surrogate pair");
      }
      code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
    } else if (code >= 0xdc00 && code <= 0xdfff) {
      at_ = start;
      fail("two halves of a surrogate pair");
    }
    append_utf8(out, code);
  }

  /// The four hex digits after `u`.
  uint32_t parse_code(size_t start) {
    uint32_t code = 0;
    if (take('u') && text_.size() - at_ >= 4) {
      for (int i = 0; i < 4; ++i, ++at_) {
        static constexpr std::string_view kDigits = "0123456789abcdef";
        const char c = text_[at_];
        const size_t digit = kDigits.find(c >= 'A' && c <= 'F' ? char(c - 'A' + 'a') : c);
        if (digit == std::string_view::npos) break;
        code = code * 16 + uint32_t(digit);
        if (i == 3) {
          ++at_;
          return code;
        }
      }
    }
    at_ = start;
    fail("an escape of JSON");
  }

  static void append_utf8(std::string& out, uint32_t code) {
    if (code < 0x80) {
      out.push_back(char(code));
    } else if (code < 0x800) {
      out.push_back(char(0xc0 | code >> 6));
      out.push_back(char(0x80 | (code & 63)));
    } else if (code < 0x10000) {
      out.push_back(char(0xe0 | code >> 12));
      out.push_back(char(0x80 | (code >> 6 & 63)));
      out.push_back(char(0x80 | (code & 63)));
    } else {
      out.push_back(char(0xf0 | code >> 18));
      out.push_back(char(0x80 | (code >> 12 & 63)));
      out.push_back(char(0x80 | (code >> 6 & 63)));
      out.push_back(char(0x80 | (code & 63)));
    }
  }

  Json parse_list(int depth) {
    ++at_;
    JsonList list;
    skip_spaces();
    if (take(']')) return Json(std::move(list));
    while (true) {
      list.push_back(parse_value(depth + 1));
      skip_spaces();
      if (take(']')) return Json(std::move(list));
      if (!take(',')) fail("',' or ']'");
    }
  }

  Json parse_object(int depth) {
    ++at_;
    JsonObject object;
    skip_spaces();
    if (take('}')) return Json(std::move(object));
    while (true) {
      skip_spaces();
      if (peek() != '"') fail("a key");
      const size_t start = at_;
      std::string key = parse_text();
      skip_spaces();
      if (!take(':')) fail("':'");
      if (!object.emplace(std::move(key), parse_value(depth + 1)).second) {
        at_ = start;
        fail("each key once");
      }
      skip_spaces();
      if (take('}')) return Json(std::move(object));
      if (!take(',')) fail("',' or '}'");
    }
  }

  std::string_view where_, text_;
  size_t at_ = 0, num_values_ = 0;
};

inline void append_json_text(std::string& out, std::string_view text) {
  static constexpr std::string_view kNames = "\"\\bfnrt", kMeant = "\"\\\b\f\n\r\t";
  out.push_back('"');
  for (char c : text) {
    if (const size_t found = kMeant.find(c); found != std::string_view::npos) {
      out.push_back('\\');
      out.push_back(kNames[found]);
    } else if (uint8_t(c) < 0x20) {
      static constexpr char kDigits[] = "0123456789abcdef";
      out.append("\\u00").push_back(kDigits[uint8_t(c) >> 4]);
      out.push_back(kDigits[c & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

inline void append_json(std::string& out, const Json& json) {
  if (json.text() != nullptr) {
    append_json_text(out, *json.text());
  } else if (json.list() != nullptr) {
    out.push_back('[');
    for (const Json& item : *json.list()) {
      if (&item != json.list()->data()) out.push_back(',');
      append_json(out, item);
    }
    out.push_back(']');
  } else if (json.object() != nullptr) {
    out.push_back('{');
    bool is_first = true;
    for (const auto& [key, value] : *json.object()) {
      if (!is_first) out.push_back(',');
      is_first = false;
      append_json_text(out, key);
      out.push_back(':');
      append_json(out, value);
    }
    out.push_back('}');
  } else {
    out.append(json.kind());  // null, true, false or a number
  }
}

}  // namespace detail

/// The one JSON text of some data: keys sorted, no spaces.
inline std::string canonical_json(const Json& json) {
  std::string text;
  detail::append_json(text, json);
  return text;
}

/// The data of a JSON text. `where` names it in errors.
inline Json parse_json(std::string_view where, std::string_view text) {
  return detail::JsonParser(where, text).parse();
}

}  // namespace tvm_equi
