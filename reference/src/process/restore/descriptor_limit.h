// The limit of open files of this process.
#pragma once

#include "process/proc_file.h"

#include <cstdlib>
#include <string>
#include <sys/resource.h>

namespace rrpcp::process::restore {

// Raises the soft limit to the hard one for a scope, and both to the most that the system gives
// (sysctl fs.nr_open) where that is allowed: a process may map and have open more files than this
// one usually needs, and its own may reach up to its limit, above which the restore needs some
// more. The limit is the whole process's.
class RaisedDescriptorLimit {
public:
  RaisedDescriptorLimit() {
    if (::getrlimit(RLIMIT_NOFILE, &before_) != 0) {
      return;
    }
    const std::string most = try_read_file("/proc/sys/fs/nr_open").value_or("0");
    const rlim_t system = std::strtoull(most.c_str(), nullptr, 10);
    for (const rlim_t wanted : {system, before_.rlim_max}) {
      const rlimit raised{wanted, wanted};
      if (wanted >= before_.rlim_max && wanted > before_.rlim_cur &&
          ::setrlimit(RLIMIT_NOFILE, &raised) == 0) {
        changed_ = true;
        return;
      }
    }
  }
  ~RaisedDescriptorLimit() {
    if (changed_) {
      ::setrlimit(RLIMIT_NOFILE, &before_);
    }
  }
  RaisedDescriptorLimit(const RaisedDescriptorLimit&) = delete;
  RaisedDescriptorLimit& operator=(const RaisedDescriptorLimit&) = delete;

private:
  rlimit before_{};
  bool changed_ = false;
};

} // namespace rrpcp::process::restore
