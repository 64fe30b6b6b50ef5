#include "packages.hpp"

#include <caffe2/serialize/inline_container.h>
#include <dirent.h>
#include <link.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <tvm_equi/error.hpp>

namespace tvm_equi::torch_ops {

namespace {

constexpr std::string_view kSuffix = ".tvmeq";
constexpr std::string_view kModels = "/data/aotinductor/";

bool has_suffix(std::string_view name) {
  return name.size() > kSuffix.size() && name.substr(name.size() - kSuffix.size()) == kSuffix;
}

/// The folder of a loaded library if AOTInductor made it.
int add_folder(dl_phdr_info* info, size_t, void* folders) {
  const std::string_view path = info->dlpi_name != nullptr ? info->dlpi_name : "";
  if (path.find(kModels) != std::string_view::npos) {
    static_cast<std::set<std::string>*>(folders)->emplace(path.substr(0, path.rfind('/')));
  }
  return 0;
}

}  // namespace

std::vector<std::string> loaded_package_files() {
  std::set<std::string> folders;
  dl_iterate_phdr(add_folder, &folders);
  std::vector<std::string> files;
  for (const std::string& folder : folders) {
    DIR* directory = opendir(folder.c_str());
    if (directory == nullptr) continue;
    while (const dirent* entry = readdir(directory)) {
      if (has_suffix(entry->d_name)) files.push_back(folder + "/" + entry->d_name);
    }
    closedir(directory);
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool is_package(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char start[2] = {};
  return bool(file.read(start, 2)) && start[0] == 'P' && start[1] == 'K';
}

std::string read_package(const std::string& path) {
  std::string found;
  try {
    caffe2::serialize::PyTorchStreamReader reader(path);
    for (const std::string& name : reader.getAllRecords()) {
      if (!has_suffix(name)) continue;
      const auto [data, size] = reader.getRecord(name);
      found.assign(static_cast<const char*>(data.get()), size);
      return found;
    }
  } catch (const c10::Error& error) {
    detail::refuse("load: " + path, "a .pt2 file", error.what_without_backtrace());
  }
  detail::refuse("load: " + path, "a .pt2 file with a .tvmeq file inside", "none inside",
                 "make it with tvm_equi.export.pt2, or put one in with `tvm-equi add-kernels`");
}

}  // namespace tvm_equi::torch_ops
