// The namespaces of all threads that are captured.
#pragma once

#include "process/namespaces.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::capture {

// The different sets of namespaces of the threads that are captured, each described once.
class NamespaceTable {
public:
  NamespaceTable() : own_(read_namespaces(0, 0)) {}

  // The number of the set that a thread of a process is in.
  std::uint32_t add(pid_t pid, pid_t tid);
  // Whether the thread's namespace is not that of the calling thread.
  bool foreign(std::uint32_t set, NamespaceKind kind) const;
  // uname(2) in a set whose host name is foreign, each 65 bytes with their NUL.
  void set_names(std::uint32_t set, std::string node, std::string domain);
  // Sets State.namespaceSets, and State.clocks as they are now to the first set.
  void build(schema::State::Builder state) const;

private:
  struct Set {
    pid_t pid;
    NamespaceIds ids;
    ClockOffsets offsets;
    std::string uid_map;
    std::string gid_map;
    std::string node;
    std::string domain;
  };

  NamespaceIds own_;
  std::vector<Set> sets_;
};

} // namespace rrpcp::process::capture
