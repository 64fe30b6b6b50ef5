#include "plans.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <tuple>
#include <tvm_equi/manifest.hpp>
#include <tvm_equi/sha256.hpp>
#include <tvm_equi/targets.hpp>
#include <unordered_map>
#include <utility>

#include "packages.hpp"

namespace tvm_equi::torch_ops {

namespace {

constexpr const char* kVariable = "TVM_EQUI_ARTIFACTS";

std::string_view dtype_name(DType dtype) { return dtype == DType::float32 ? "float32" : "float64"; }

Rows rows_of(std::string_view name) {
  if (name == "shared") return Rows::shared;
  if (name == "sender") return Rows::sender;
  if (name == "receiver") return Rows::receiver;
  return Rows::row;
}

/// What a plan is looked up by. The text is not its own.
struct Key {
  std::string_view operation, text;
  DType dtype;

  bool operator==(const Key& other) const {
    return dtype == other.dtype && operation == other.operation && text == other.text;
  }
};

struct KeyHash {
  size_t operator()(const Key& key) const {
    return std::hash<std::string_view>()(key.text) * 2 + size_t(key.dtype);
  }
};

/// A file of kernels, its kernels loaded when a plan needs them.
class File {
 public:
  explicit File(Container container)
      : container_(std::move(container)), manifest_(read_manifest(container_)) {
    for (const PlanEntry& entry : manifest_.plans) plans_[entry.plan] = &entry;
    for (const KernelEntry& entry : manifest_.kernels) kernels_[{entry.key, entry.dtype}] = &entry;
    target_ = best_target(container_.where(), manifest_.targets).name;
  }

  const std::string& where() const { return container_.where(); }

  /// The entry of a plan, NULL where it is not there for a dtype.
  const PlanEntry* find(const Key& key) const {
    const auto found = plans_.find(key.text);
    if (found == plans_.end() || found->second->name != key.operation) return nullptr;
    for (const PassEntry& pass : found->second->passes) {
      if (kernels_.count({pass.kernel, dtype_name(key.dtype)}) == 0) return nullptr;
    }
    return found->second;
  }

  Plan load(const PlanEntry& entry, DType dtype) {
    Plan plan;
    for (const OperandEntry& each : entry.inputs)
      plan.inputs.push_back({each.columns, rows_of(each.rows)});
    for (const OperandEntry& each : entry.outputs)
      plan.outputs.push_back({each.columns, rows_of(each.rows)});
    for (const PassEntry& pass : entry.passes) {
      plan.passes.push_back({kernel(pass.kernel, dtype), rows_of(pass.order), pass.outputs,
                             pass.copied, pass.summed});
    }
    return plan;
  }

 private:
  std::shared_ptr<const Kernel> kernel(const std::string& key, DType dtype) {
    const std::string& section = kernels_.at({key, dtype_name(dtype)})->libraries.at(target_);
    auto& loaded = loaded_[section];
    if (loaded == nullptr) {
      loaded = load_kernel(container_, section);
    }
    return loaded;
  }

  Container container_;
  Manifest manifest_;
  std::string target_;
  std::map<std::string_view, const PlanEntry*> plans_;
  std::map<std::pair<std::string_view, std::string_view>, const KernelEntry*> kernels_;
  std::map<std::string, std::shared_ptr<const Kernel>> loaded_;
};

class Registry {
 public:
  /// The plan, NULL where no file has it.
  const Plan* find(const Key& key) {
    {
      std::shared_lock<std::shared_mutex> lock(mutex_);
      const auto found = plans_.find(key);
      if (found != plans_.end()) return found->second;
    }
    std::unique_lock<std::shared_mutex> lock(mutex_);
    const Plan* plan = find_in_files(key);
    if (plan == nullptr && look_for_files()) plan = find_in_files(key);
    return plan;
  }

  void add(const std::string& path) {
    std::unique_lock<std::shared_mutex> lock(mutex_);
    add_file(path);
  }

  std::string sources() {
    std::shared_lock<std::shared_mutex> lock(mutex_);
    std::string names;
    for (const auto& file : files_) names += (names.empty() ? "" : ", ") + file->where().substr(6);
    return names.empty() ? "none" : "none in " + names;
  }

 private:
  const Plan* find_in_files(const Key& key) {
    const auto known = plans_.find(key);
    if (known != plans_.end()) return known->second;
    for (const auto& file : files_) {
      const PlanEntry* entry = file->find(key);
      if (entry == nullptr) continue;
      owned_.push_back(std::make_unique<Plan>(file->load(*entry, key.dtype)));
      // Texts in the file live as long as the registry; the caller's does not.
      plans_.emplace(Key{entry->name, entry->plan, key.dtype}, owned_.back().get());
      return owned_.back().get();
    }
    return nullptr;
  }

  /// Adds files that were not seen yet; whether there are some.
  bool look_for_files() {
    const size_t before = files_.size();
    static const std::string variable = [] {  // once: others may set variables meanwhile
      const char* text = std::getenv(kVariable);
      return std::string(text != nullptr ? text : "");
    }();
    std::string_view rest = variable;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(':'), rest.size());
      if (end > 0) add_once(std::string(rest.substr(0, end)));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    for (const std::string& path : loaded_package_files()) add_once(path);
    return files_.size() > before;
  }

  /// A file that cannot be read is an error each time, until it can.
  void add_once(const std::string& path) {
    if (seen_.count(path) > 0) return;
    add_file(path);
    seen_.insert(path);
  }

  void add_file(const std::string& path) {
    files_.push_back(std::make_unique<File>(
        is_package(path) ? Container::parse("load: " + path, read_package(path))
                         : Container::read(path)));
  }

  std::shared_mutex mutex_;
  std::set<std::string> seen_;
  std::vector<std::unique_ptr<File>> files_;
  std::vector<std::unique_ptr<Plan>> owned_;
  std::unordered_map<Key, const Plan*, KeyHash> plans_;
};

/// Never destroyed: models of static storage may run when the process ends.
Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

}  // namespace

const Plan& find_plan(std::string_view operation, std::string_view text, DType dtype) {
  const Plan* plan = registry().find({operation, text, dtype});
  if (plan != nullptr) return *plan;
  const std::string digest = hex(sha256(text.data(), text.size())).substr(0, 16);
  const size_t derivatives = size_t(std::count(text.begin(), text.end(), ' '));
  std::string what = "plan " + digest;
  if (derivatives > 0) what += " (derivative " + std::string(text.substr(text.find(' ') + 1)) + ")";
  detail::refuse("tvm_equi::" + std::string(operation) + ": " + what,
                 "a file with its kernels for " + std::string(dtype_name(dtype)),
                 registry().sources(),
                 "make the .pt2 with tvm_equi.export.pt2, which puts them inside, put them in with "
                 "`tvm-equi add-kernels`, or name a .tvmeq that has them in " +
                     std::string(kVariable));
}

bool has_plan(std::string_view operation, std::string_view text, DType dtype) {
  return registry().find({operation, text, dtype}) != nullptr;
}

std::string derivative_text(std::string_view text, const std::vector<int64_t>& wrt,
                            const std::vector<int64_t>& of) {
  const auto joined = [](const std::vector<int64_t>& numbers) {
    std::string out;
    for (int64_t number : numbers) out += (out.empty() ? "" : ",") + std::to_string(number);
    return out;
  };
  return std::string(text) + " " + joined(wrt) + ":" + joined(of);
}

void load_file(const std::string& path) { registry().add(path); }

}  // namespace tvm_equi::torch_ops
