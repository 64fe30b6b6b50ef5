// Files of kernels inside of .pt2 packages: of one by its path, and of those that are loaded now.
#pragma once

#include <string>
#include <vector>

namespace tvm_equi::torch_ops {

/// The .tvmeq files of models that AOTInductor has loaded: it unpacks a package into a folder,
/// loads a library from there, and keeps the folder for as long as the model.
std::vector<std::string> loaded_package_files();

/// Whether a file is a zip, as .pt2 files are.
bool is_package(const std::string& path);

/// The content of the .tvmeq inside of a .pt2.
std::string read_package(const std::string& path);

}  // namespace tvm_equi::torch_ops
