// Parts that read files: SHA-256, JSON, names of sections, targets, tensors.
#include <string>
#include <tvm_equi/safetensors.hpp>
#include <tvm_equi/targets.hpp>
#include <vector>

#include "check.hpp"

using namespace tvm_equi;

static void test_sha256() {
  // Source: FIPS 180-4's examples.
  check(hex(sha256("abc", 3)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "abc");
  check(hex(sha256("", 0)) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "nothing");
  const std::string million(1000000, 'a');
  check(hex(sha256(million.data(), million.size())) ==
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
        "a million a");
  std::vector<unsigned char> bytes(400);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * i + 7 * i);
  for (size_t size = 0; size <= bytes.size() && detail::has_sha_instructions(); ++size) {
    check(detail::sha256_with(true, bytes.data(), size) ==
              detail::sha256_with(false, bytes.data(), size),
          "both ways for " + std::to_string(size));
  }
}

static void test_json() {
  const std::string canonical = R"({"a":[1,-2,true,false,null,"x"],"b":{},"c":[]})";
  check(canonical_json(parse_json("t", canonical)) == canonical, "canonical");
  check(canonical_json(parse_json("t", " { \"b\" : { } ,\n\"a\":\t[ ] } ")) == R"({"a":[],"b":{}})",
        "spaces");
  check(*parse_json("t", R"("\u00e9\ud83d\ude00\n\"\\\/")").text() == "\u00e9\U0001F600\n\"\\/",
        "escapes");
  check(canonical_json(parse_json("t", R"("\u0001\u001f\u007f\b")")) == "\"\\u0001\\u001f\x7f\\b\"",
        "control");
  check(*parse_json("t", "9223372036854775807").number() == INT64_MAX, "largest");
  check(*parse_json("t", "-9223372036854775807").number() == -INT64_MAX, "smallest");
  for (const char* text :
       {"9223372036854775808", "99999999999999999999", "1.5", "1e3", "01", "-", "-a"}) {
    check_error("expected a whole number", [&] { parse_json("t", text); });
  }
  for (const char* text :
       {"", " ", "nul", "NaN", "Infinity", "[1,]", "[,1]", "]", "+1", "'a'", "\xef\xbb\xbf{}"}) {
    check_error("t: JSON: character ", [&] { parse_json("t", text); });
  }
  for (const char* text :
       {"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\""}) {
    check_error("expected UTF-8", [&] { parse_json("t", text); });
  }
  check_error("surrogate", [] { parse_json("t", R"("\ud800")"); });
  check_error("surrogate", [] { parse_json("t", R"("\udc00x")"); });
  check_error("surrogate", [] { parse_json("t", R"("\ud800\u0041")"); });
  check_error("escape", [] { parse_json("t", R"("\ud800\n")"); });
  check_error("escape", [] { parse_json("t", R"("\x")"); });
  check_error("escape", [] { parse_json("t", R"("\u12)"); });
  check_error("control", [] { parse_json("t", "\"a\nb\""); });
  check_error("a text that ends", [] { parse_json("t", "[\"abc"); });
  check_error("each key once", [] { parse_json("t", R"({"a":1,"a":2})"); });
  check_error("the end of the text", [] { parse_json("t", "{} {}"); });
  check_error("lists within one another", [] { parse_json("t", std::string(100000, '[')); });
  std::string many = "[0";
  for (int i = 0; i < 1'000'000; ++i) many += ",0";
  check_error("at most 1000000 values", [&] { parse_json("t", many + "]"); });
}

static void test_section_names() {
  for (const char* name :
       {"a", "graph.json", "kernels/x86-64-v3/0a.so", "..a", "a..", ".a/b.", "-"}) {
    check(detail::is_section_name(name), name);
  }
  for (const char* name : {"", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/..", "a/../b",
                           "a/./b", "a b", "a\\b", "\xc3\xa9", "a:b", "a\n"}) {
    check(!detail::is_section_name(name), name);
  }
  check(!detail::is_section_name(std::string_view("a\0b", 3)), "zero byte");
  check(detail::is_section_name(std::string(255, 'a')), "255 characters");
  check(!detail::is_section_name(std::string(256, 'a')), "256 characters");
}

static void test_targets() {
  const Target v2{"x86-64-v2", "x86_64", {}, {}}, v3{"x86-64-v3", "x86_64", {}, {}};
  const Target v4{"x86-64-v4", "x86_64", {}, {}}, host{"host", "x86_64", {"avx2", "new_one"}, {}};
  const Target arm{"host", "aarch64", {"asimd"}, {}}, gpu{"sm_90", "", {}, {"sm_90"}};
  const std::set<std::string> of_v3 = detail::needed_features(v3),
                              of_v4 = detail::needed_features(v4);
  const auto best = [](std::vector<Target> targets, const std::set<std::string>& features) {
    return best_target("load: m", targets, features, "x86_64").name;
  };
  check(best({v2, v3, v4}, of_v3) == "x86-64-v3", "best of three");
  check(best({v4, v3, v2}, of_v4) == "x86-64-v4", "in any order");
  check(best({v4, v2, gpu, arm}, of_v3) == "x86-64-v2", "what there is");
  check(best({v3, v2}, {}) == "x86-64-v2", "the least where nothing is known");
  check_error("one that this CPU runs, got x86-64-v4; this CPU lacks avx512bw",
              [&] { best({v4}, of_v3); });
  check_error("this CPU lacks new_one", [&] { best({host}, of_v3); });
  check_error("load: m: target: expected one for x86_64, got sm_90, host",
              [&] { best({gpu, arm}, of_v4); });
  // A file cannot take features away from a level.
  check_error("lacks", [&] { best({Target{"x86-64-v4", "x86_64", {"avx2"}, {}}}, of_v3); });
}

static std::string tensors_file(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(header.size() >> (8 * i));
  return out + header + data;
}

static void test_tensors() {
  const std::string a = R"("a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]})";
  const std::string file = tensors_file("{" + a + R"(,"__metadata__":{"k":"v"}})", "12345678");
  const auto found = read_tensors("p", file);
  check(found.size() == 1 && found.at("a").dtype == "float32", "a tensor");
  check(found.at("a").bytes == "12345678" && found.at("a").shape.size() == 2, "its bytes");
  check(read_tensors("p", tensors_file("{}   ", "")).empty(), "none");
  const auto refused = [&](const char* text, const std::string& header, const std::string& data) {
    check_error(text, [&] { read_tensors("p", tensors_file(header, data)); });
  };
  check_error("p: expected 8 bytes or more, got 3", [] { read_tensors("p", "abc"); });
  check_error("p: header: expected at most 2 bytes",
              [] { read_tensors("p", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)); });
  check_error("p: header: expected at most 0 bytes",
              [] { read_tensors("p", std::string("\1\0\0\0\0\0\0\0", 8)); });
  refused("8 bytes of tensors, got 9", "{" + a + "}", "123456789");
  refused("8 bytes of tensors, got 7", "{" + a + "}", "1234567");
  refused("to start at 8", "{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[7,8]}})",
          "12345678");
  refused("to start at 8", "{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}})",
          "1234567890");
  refused("expected 16 bytes, got 8", R"({"a":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}})",
          "12345678");
  refused("[start, end]", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "12345678");
  refused("a number from 0", R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})",
          "12345678");
  refused(
      "fewer elements",
      R"({"a":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,8]}})",
      "12345678");
  refused("fewer elements",
          R"({"a":{"dtype":"F32","shape":[0,4611686018427387904],"data_offsets":[0,0]}})", "");
  refused("one of BOOL", R"({"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}})", "12345678");
  refused("bytes 0 and 1 for bool", R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})",
          "\1\2");
  refused("data_offsets only, got 'x'",
          R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2],"x":1}})", "\1\1");
  refused("expected '{'", " {}", "");
}

int main() {
  test_sha256();
  test_json();
  test_section_names();
  test_targets();
  test_tensors();
  return num_failures() == 0 ? 0 : 1;
}
