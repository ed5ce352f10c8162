// What a machine offers to those who record, replay, capture and restore on it.
#pragma once

#include "rrpcp/export.h"

#include <string>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

struct HostAbility {
  // Stable, for programs: "ptrace", "rdtsc-trap", …
  std::string name;
  // What it is, and what it is for.
  std::string what;
  bool works = false;
  // Recording (replaying) is not possible without it.
  bool recording_needs_it = false;
  bool replaying_needs_it = false;
  // What is used instead, or what the user can do about it, where it does not work.
  std::string instead;
};

// Tries everything, in processes of its own, in some milliseconds: what a system call says it can
// do is not taken for granted. Thread-safe. Throws Error where no process can be made.
std::vector<HostAbility> examine_host();

} // namespace rrpcp
