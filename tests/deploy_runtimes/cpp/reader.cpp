// Reads model files whose paths come on standard input; prints "ok" or the error, a line each.
#include <cstdio>
#include <iostream>
#include <string>
#include <tvm_equi/safetensors.hpp>
#include <tvm_equi/targets.hpp>

using namespace tvm_equi;

static std::string verdict(const std::string& path) {
  try {
    const Container container = Container::read(path);
    const Manifest manifest = read_manifest(container);
    std::map<std::string, TensorEntry> tensors;
    if (manifest.parameters) {
      tensors = read_tensors(container.where(), container.section(*manifest.parameters));
    }
    for (const ProgramEntry& program : manifest.programs) {
      for (const std::string& name : program.parameters) {
        if (tensors.count(name) == 0) return "parameters: " + name;
      }
    }
    return "ok";
  } catch (const Error& error) {
    return error.what();
  }
}

int main() {
  for (std::string path; std::getline(std::cin, path);) std::printf("%s\n", verdict(path).c_str());
}
