// Which of a model file's targets is best on this machine.
//
// In: targets of a manifest. Out: one of them, the one that makes most of this CPU; where the
// system lists no features, the one that needs the fewest. Refused, with what this CPU lacks: a
// file that has no code for it.
#pragma once

#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "error.hpp"
#include "manifest.hpp"

namespace tvm_equi {

namespace detail {

inline std::set<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::set<std::string> out;
  for (std::string word; stream >> word;) out.insert(word);
  return out;
}

/// The features of this CPU, as Linux names them; empty where the system lists none.
inline const std::set<std::string>& host_features() {
  static const std::set<std::string> found = [] {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
      const size_t colon = line.find(':');
      const bool is_list = line.rfind("flags", 0) == 0 || line.rfind("Features", 0) == 0;
      if (is_list && colon != std::string::npos) return words(line.substr(colon + 1));
    }
    return std::set<std::string>();
  }();
  return found;
}

inline std::string host_machine() {
  struct utsname names;
  return uname(&names) == 0 ? names.machine : "";
}

/// What a target's code may use; what is known of its level counts, whatever the file says.
/// Source: System V psABI, x86-64 supplement, table 3.1; names of Linux.
inline std::set<std::string> needed_features(const Target& target) {
  std::string text;
  if (target.name == "x86-64-v2" || target.name == "x86-64-v3" || target.name == "x86-64-v4") {
    text = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3";
    if (target.name >= "x86-64-v3") text += " abm avx avx2 bmi1 bmi2 f16c fma movbe xsave";
    if (target.name == "x86-64-v4") text += " avx512bw avx512cd avx512dq avx512f avx512vl";
  }
  std::set<std::string> out = words(text);
  out.insert(target.features.begin(), target.features.end());
  return out;
}

}  // namespace detail

/// The target for this CPU among those that a file has libraries for.
inline const Target& best_target(const std::string& where, const std::vector<Target>& targets,
                                 const std::set<std::string>& features = detail::host_features(),
                                 const std::string& machine = detail::host_machine()) {
  const Target* best = nullptr;
  size_t most = 0;
  std::string there, fitting, lacking;
  for (const Target& target : targets) {
    there += (there.empty() ? "" : ", ") + target.name;
    if (target.is_gpu() || target.machine != machine) continue;
    fitting += (fitting.empty() ? "" : ", ") + target.name;
    const std::set<std::string> needed = detail::needed_features(target);
    std::string missing;
    for (const std::string& feature : needed) {
      if (!features.empty() && features.count(feature) == 0) missing += " " + feature;
    }
    if (!missing.empty() && (lacking.empty() || missing.size() < lacking.size())) lacking = missing;
    const bool is_better = features.empty() ? needed.size() < most : needed.size() > most;
    if (missing.empty() && (best == nullptr || is_better)) {
      best = &target;
      most = needed.size();
    }
  }
  if (best == nullptr) {
    detail::refuse(
        where + ": target", fitting.empty() ? "one for " + machine : "one that this CPU runs",
        (fitting.empty() ? there : fitting) + (lacking.empty() ? "" : "; this CPU lacks" + lacking),
        "compile it with --target x86-64-v2 too");
  }
  return *best;
}

}  // namespace tvm_equi
