// Confinement by seccomp(2), put back.
#pragma once

#include "process/restore/arena.h"
#include "process/tracee.h"
#include "rrpcp/schema/task.capnp.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rrpcp::process::restore {

// How one thread is to be confined. Addresses are in the arena.
struct Confinement {
  struct Filter {
    std::uint64_t program = 0; // struct sock_fprog
    std::uint64_t flags = 0;   // SECCOMP_FILTER_FLAG_*
    std::vector<std::byte> instructions;

    bool operator==(const Filter& other) const {
      return flags == other.flags && instructions == other.instructions;
    }
  };
  bool strict = false;
  std::vector<Filter> filters; // in the order in which they are installed

  bool empty() const { return !strict && filters.empty(); }
  bool operator==(const Confinement&) const = default;
};

// Whether the calling thread may let threads that it traces make calls despite their filters
// (ptrace(2) PTRACE_O_SUSPEND_SECCOMP).
bool may_suspend_confinement();

Confinement place_confinement(Arena& arena, schema::TaskAttributes::Reader attributes);

// Has stopped threads confine themselves, by calls made at `instruction`. Those that were alike are
// confined together, so that they share their filters as threads do that inherited them. Afterwards
// they have `options` and PTRACE_O_SUSPEND_SECCOMP. Throws Error.
void confine_threads(const std::vector<Tracee*>& threads,
                     const std::vector<Confinement>& confinements, std::uint64_t instruction,
                     std::uintptr_t options);

} // namespace rrpcp::process::restore
