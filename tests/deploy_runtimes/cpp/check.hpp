// Checks that say what was wrong, and go on.
#pragma once

#include <cstdio>
#include <string>
#include <tvm_equi/error.hpp>

inline int& num_failures() {
  static int count = 0;
  return count;
}

inline void check(bool is_right, const std::string& what) {
  if (is_right) return;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  ++num_failures();
}

/// Checks that a function throws our error with some text in it.
template <typename F>
void check_error(const std::string& text, F&& function) {
  try {
    function();
  } catch (const tvm_equi::Error& error) {
    const bool is_right = std::string(error.what()).find(text) != std::string::npos;
    check(is_right, "expected '" + text + "', got '" + error.what() + "'");
    return;
  }
  check(false, "expected '" + text + "', got no error");
}
