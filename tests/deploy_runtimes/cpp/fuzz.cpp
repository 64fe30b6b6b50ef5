// Changes model files, and reads what came of it: an error or a model, never a crash.
//
//     fuzz SECONDS SEED FILE...
//
// Some changes are to bytes anywhere, which checksums catch. Most are to what lies behind the
// checksums, which are made right again: words of the manifest, its structure, headers of tensors,
// sizes and places of sections. The same seed makes the same changes.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <tvm_equi/safetensors.hpp>
#include <tvm_equi/targets.hpp>
#include <vector>

using namespace tvm_equi;

namespace {

std::mt19937_64 source;

size_t below(size_t count) { return count == 0 ? 0 : size_t(source() % count); }
bool one_in(size_t count) { return below(count) == 0; }

template <typename T>
const T& any_of(const std::vector<T>& items) {
  return items[below(items.size())];
}

void put(std::string& bytes, size_t at, uint64_t value, size_t count) {
  for (size_t i = 0; i < count; ++i) bytes[at + i] = char(value >> (8 * i));
}

std::string digest_of(std::string_view bytes) {
  const Digest digest = sha256(bytes.data(), bytes.size());
  return std::string(digest.begin(), digest.end());
}

/// Words and signs of a JSON text.
std::vector<std::string> tokens_of(const std::string& text) {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i++;
    if (text[start] == '"') {
      while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
      i = std::min(i + 1, text.size());
    } else if (std::string_view("[]{},:").find(text[start]) == std::string_view::npos) {
      while (i < text.size() &&
             std::string_view("[]{},:\"").find(text[i]) == std::string_view::npos)
        ++i;
    }
    tokens.push_back(text.substr(start, i - start));
  }
  return tokens;
}

const std::vector<std::string> kWords = {"0",
                                         "1",
                                         "-1",
                                         "2",
                                         "63",
                                         "64",
                                         "96",
                                         "4096",
                                         "9223372036854775807",
                                         "-9223372036854775807",
                                         "9223372036854775744",
                                         "18446744073709551615",
                                         "4611686018427387904",
                                         "1.5",
                                         "1e9",
                                         "null",
                                         "true",
                                         "false",
                                         "[]",
                                         "{}",
                                         "[[]]",
                                         "[0]",
                                         "[1,\"row\"]",
                                         "\"\"",
                                         "\"a\"",
                                         "\"../a\"",
                                         "\"/etc/passwd\"",
                                         "\"a/../../b\"",
                                         "\".\"",
                                         "\"edges\"",
                                         "\"float64\"",
                                         "\"float32\"",
                                         "\"int64\"",
                                         "\"bool\"",
                                         "\"run\"",
                                         "\"convolve\"",
                                         "\"sender\"",
                                         "\"main\"",
                                         "\"x86_64\"",
                                         "\"x86-64-v3\"",
                                         "\"sm_90\"",
                                         "\"\\u0000\"",
                                         "\"\\ud800\"",
                                         "\"\xc3\xa9\"",
                                         "\"\xff\"",
                                         "{\"a\":1}",
                                         "[",
                                         "]",
                                         "{",
                                         "}",
                                         ",",
                                         ":"};

bool is_value(const std::string& token) {
  return !token.empty() && std::string_view("[]{},:").find(token.front()) == std::string_view::npos;
}

std::string changed_json(const std::string& text) {
  std::vector<std::string> tokens = tokens_of(text);
  for (size_t n = 1 + below(3); n > 0 && !tokens.empty(); --n) {
    const size_t at = below(tokens.size());
    switch (below(12)) {
      case 0:
        tokens.erase(tokens.begin() + long(at));
        break;
      case 1:
        tokens.insert(tokens.begin() + long(at), any_of(tokens));
        break;
      case 2:
        tokens[at] = any_of(tokens);
        break;
      case 3: {  // something of the size of a value: from one sign to the next of its kind
        const size_t end = std::min(tokens.size(), at + 1 + below(12));
        tokens.erase(tokens.begin() + long(at), tokens.begin() + long(end));
        break;
      }
      case 4: {
        std::string& token = tokens[at];
        if (!token.empty()) token[below(token.size())] = char(source());
        break;
      }
      case 5:
        tokens[at] = any_of(kWords);
        break;
      default:  // a value in place of a value
        if (is_value(tokens[at])) {
          const std::string& other = one_in(2) ? any_of(tokens) : any_of(kWords);
          if (is_value(other)) tokens[at] = other;
        }
    }
  }
  std::string out;
  for (const std::string& token : tokens) out += token;
  if (one_in(200)) out.insert(below(out.size()), std::string(size_t(1) << below(18), '['));
  if (one_in(10)) return out;
  try {  // its canonical form, if it is JSON: other forms are refused at once
    return canonical_json(parse_json("fuzz", out));
  } catch (const Error&) {
    return out;
  }
}

/// A file in parts, put together again with right checksums.
struct Parts {
  std::string manifest;
  std::map<std::string, std::string>
      sections;  // content by the hex of the sha256 that the manifest has

  explicit Parts(const Container& container) : manifest(canonical_json(container.manifest())) {
    const detail::Field table = detail::Field(container.manifest(), "fuzz")["sections"];
    for (size_t i = 0; i < table.size(); ++i) {
      const std::string& name = table[i]["name"].text();
      sections[container.digest(name)] = std::string(container.section(name));
      order.push_back(container.digest(name));
    }
  }
  std::vector<std::string> order;

  static void replace_all(std::string& text, const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
      text.replace(at, from.size(), to);
    }
  }

  void change_section() {
    std::string& digest = order[below(order.size())];
    std::string& content = sections.at(digest);
    const uint64_t length = content.size() < 8
                                ? 0
                                : detail::little_endian<uint64_t>(
                                      reinterpret_cast<const unsigned char*>(content.data()));
    if (length > 0 && length <= content.size() - 8 && content[8] == '{' && !one_in(5)) {
      std::string header = changed_json(content.substr(8, length));
      if (!one_in(4)) header.resize(std::max<size_t>(header.size(), length), ' ');
      content = std::string(8, '\0') + header + content.substr(8 + length);
      put(content, 0, one_in(10) ? source() >> below(64) : header.size(), 8);
    } else if (one_in(2)) {
      content.resize(below(2 * content.size() + 2));
    } else if (!content.empty()) {
      content[below(std::min<size_t>(content.size(), 16))] = char(source());
    }
    const std::string now = hex(sha256(content.data(), content.size()));
    replace_all(manifest, digest, now);
    std::string moved = content;
    sections.erase(digest);
    sections[now] = std::move(moved);
    digest = now;
  }

  /// Offsets and sizes of the manifest made right, as far as it has the form of one.
  void settle() {
    for (int round = 0; round < 3; ++round) {
      const std::string before = manifest;
      uint64_t end = detail::kHeaderSize + manifest.size();
      for (const std::string& digest : order) {
        const uint64_t start = detail::aligned(end);
        const size_t size = sections.at(digest).size();
        set_number("\"offset\":", digest, start);
        set_number("\"size\":", digest, size);
        end = start + size;
      }
      if (manifest == before) return;
    }
  }

  /// Sets the number behind `key` in the object of a section.
  void set_number(const std::string& key, const std::string& digest, uint64_t number) {
    const size_t place = manifest.find(digest);
    if (place == std::string::npos) return;
    size_t at = key == "\"size\":" ? manifest.find(key, place) : manifest.rfind(key, place);
    if (at == std::string::npos) return;
    at += key.size();
    size_t end = at;
    while (end < manifest.size() && manifest[end] >= '0' && manifest[end] <= '9') ++end;
    manifest.replace(at, end - at, std::to_string(number));
  }

  std::string join() const {
    std::string out(detail::kHeaderSize, '\0');
    out += manifest;
    for (const std::string& digest : order) {
      out.resize(detail::aligned(out.size()), '\0');
      out += sections.at(digest);
    }
    out.replace(0, 8, detail::kMagic);
    put(out, 8, detail::kContainerVersion, 4);
    put(out, 16, out.size(), 8);
    put(out, 24, manifest.size(), 8);
    return out;
  }
};

void sign(std::string& bytes) {
  const auto size =
      detail::little_endian<uint64_t>(reinterpret_cast<const unsigned char*>(bytes.data()) + 24);
  const size_t room = bytes.size() - detail::kHeaderSize;
  if (size <= room) bytes.replace(32, 32, digest_of(std::string_view(bytes).substr(96, size)));
  bytes.replace(64, 32, digest_of(std::string_view(bytes).substr(0, 64)));
}

void change_bytes(std::string& bytes) {
  switch (below(4)) {
    case 0:
      bytes.resize(below(bytes.size() + 1));
      break;
    case 1:
      bytes.append(1 + below(200), char(source()));
      break;
    default:
      for (size_t n = 1 + below(4); n > 0; --n)
        bytes[below(one_in(2) ? 96 : bytes.size())] ^= char(1 << below(8));
  }
}

std::string changed(const Parts& original) {
  Parts parts = original;
  const size_t kind = below(10);
  if (kind < 5) parts.manifest = changed_json(parts.manifest);
  if (kind >= 4 && kind < 8 && !parts.order.empty()) parts.change_section();
  if (kind < 8 && !one_in(4)) parts.settle();
  std::string bytes = parts.join();
  if (kind == 8) put(bytes, 8 + 4 * below(6), source() >> below(64), 4);  // numbers of the header
  sign(bytes);
  if (kind == 9 || one_in(30)) {
    change_bytes(bytes);
    if (bytes.size() >= detail::kHeaderSize && one_in(2)) sign(bytes);
  }
  return bytes;
}

/// A message without what differs from file to file.
std::string kind_of(std::string_view message) {
  std::string out;
  bool is_quoted = false;
  for (char c : message) {
    if (c == '\'') is_quoted = !is_quoted;
    if (!is_quoted && !(c >= '0' && c <= '9')) out.push_back(c);
  }
  return out;
}

std::map<std::string, size_t> errors;

/// Whether it was read; everything that a model's load does before it loads code.
bool read(const std::string& bytes) {
  try {
    const Container container = Container::parse("fuzz", bytes);
    const Manifest manifest = read_manifest(container);
    if (manifest.parameters) read_tensors("fuzz", container.section(*manifest.parameters));
    best_target("fuzz", manifest.targets);
    return true;
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.size() > 2000) std::abort();  // it is to be read
    if (errors.size() < 10000) ++errors[kind_of(message)];
    return false;
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) return 2;
  const double seconds = std::atof(arguments[1]);
  source.seed(std::strtoull(arguments[2], nullptr, 10));
  std::vector<Parts> originals;
  for (int i = 3; i < count; ++i) {
    const Container container = Container::read(arguments[i]);
    originals.emplace_back(container);
    std::string bytes = originals.back().join();
    sign(bytes);
    if (!read(bytes)) {
      std::fprintf(stderr, "%s: not what it was when put together again\n", arguments[i]);
      return 1;
    }
  }
  const auto start = std::chrono::steady_clock::now();
  size_t num_read = 0, num_accepted = 0;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() <
         seconds) {
    const std::string bytes = changed(any_of(originals));
    if (const char* path = std::getenv("TVM_EQUI_FUZZ_LAST")) {  // to have what made it crash
      std::ofstream(path, std::ios::binary) << bytes;
    }
    num_accepted += read(bytes);
    ++num_read;
  }
  if (std::getenv("TVM_EQUI_FUZZ_ERRORS") != nullptr) {
    for (const auto& [text, times] : errors) std::fprintf(stderr, "%8zu %s\n", times, text.c_str());
  }
  std::printf("%zu files read, %zu of them accepted, %zu kinds of errors\n", num_read, num_accepted,
              errors.size());
  return num_accepted > 0 && errors.size() > 20 ? 0 : 1;  // or the changes miss their aim
}
