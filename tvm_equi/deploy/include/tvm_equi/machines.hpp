// Virtual machines that run a program, as many as there are calls at once.
//
// A machine of TVM runs one call at a time; making one takes a fraction of a millisecond. What a
// call returns is in memory of a pool that all machines share.
#pragma once

#include <tvm/ffi/any.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "error.hpp"
#include "library.hpp"
#include "runtime.hpp"

namespace tvm_equi::detail {

class Machines {
 public:
  /// The caller holds load_mutex().
  Machines(std::string where, tvm::ffi::Module executable)
      : where_(std::move(where)), executable_(std::move(executable)) {
    idle_.push_back(make());
  }

  /// What the program returns.
  tvm::ffi::Any run(const tvm::ffi::AnyView* arguments, size_t count) {
    Lease lease{this, take()};
    const auto reading = FunctionTable::read();
    tvm::ffi::Any result;
    lease.machine->main.CallPacked(arguments, int32_t(count), &result);
    return result;
  }

 private:
  struct Machine {
    tvm::ffi::Module module;
    tvm::ffi::Function main;
  };

  struct Lease {  // a machine is as good as new after an error, too
    Machines* owner;
    std::unique_ptr<Machine> machine;
    ~Lease() {
      std::lock_guard<std::mutex> lock(owner->mutex_);
      owner->idle_.push_back(std::move(machine));
    }
  };

  std::unique_ptr<Machine> take() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        auto machine = std::move(idle_.back());
        idle_.pop_back();
        return machine;
      }
    }
    std::lock_guard<std::mutex> lock(load_mutex());
    return make();
  }

  std::unique_ptr<Machine> make() const {
    return with_context(where_, [&] {
      constexpr int kPooled = 2;  // memory that is kept for later calls
      const auto create = executable_->GetFunction("vm_load_executable");
      if (!create.has_value())
        refuse(where_, "a program for TVM's virtual machine", "another library");
      const auto module = create.value()().cast<tvm::ffi::Module>();
      module->GetFunction("vm_initialization").value()(int(kDLCPU), 0, kPooled);
      const auto main = module->GetFunction("main");
      if (!main.has_value() || main.value() == nullptr) refuse(where_, "a function main", "none");
      return std::make_unique<Machine>(Machine{module, main.value()});
    });
  }

  std::string where_;
  tvm::ffi::Module executable_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Machine>> idle_;
};

/// Keeps the pool of memory small. It holds every block that was ever freed, by its size, so that
/// calls with ever new numbers of edges would take ever more memory. It is emptied when there are
/// more sets of sizes than a few.
class MemoryBound {
 public:
  void called_with(const std::vector<int64_t>& sizes) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (std::find(known_.begin(), known_.end(), sizes) != known_.end()) return;
    if (known_.size() == kMaxSets) {
      known_.clear();
      static const tvm::ffi::Function clear = [] {
        std::lock_guard<std::mutex> load_lock(load_mutex());
        return tvm::ffi::Function::GetGlobalRequired("vm.builtin.memory_manager.clear");
      }();
      clear();
    }
    known_.push_back(sizes);
  }

 private:
  static constexpr size_t kMaxSets = 4;

  std::mutex mutex_;
  std::vector<std::vector<int64_t>> known_;
};

}  // namespace tvm_equi::detail
