// The exception of this library, and how its messages read:
// `<where>: <argument>: expected <what was expected>, got <what came>[; <next step>]`.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace tvm_equi {

/// Whatever is wrong with a file, its machine, or the arguments of a call.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

[[noreturn]] inline void refuse(std::string_view where, std::string_view expected,
                                std::string_view got, std::string_view next_step = {}) {
  std::string text;
  text.append(where).append(": expected ").append(expected).append(", got ").append(got);
  if (!next_step.empty()) text.append("; ").append(next_step);
  throw Error(text);
}

/// A text from a file for a message: quoted, shortened, control characters replaced.
inline std::string shown(std::string_view text, size_t limit = 80) {
  std::string out = "'";
  for (unsigned char c : text.substr(0, limit))
    out.push_back(c < 0x20 || c == 0x7f ? '?' : char(c));
  return out + (text.size() > limit ? "...'" : "'");
}

}  // namespace detail
}  // namespace tvm_equi
