// The limit of open files of this process.
#pragma once

#include <sys/resource.h>

namespace rrpcp::restore {

// Raises the soft limit to the hard one for a scope: a process may map and have open more files
// than this one usually needs. The limit is the whole process's.
class RaisedDescriptorLimit {
public:
  RaisedDescriptorLimit() {
    if (::getrlimit(RLIMIT_NOFILE, &before_) == 0 && before_.rlim_cur < before_.rlim_max) {
      const rlimit raised{before_.rlim_max, before_.rlim_max};
      changed_ = ::setrlimit(RLIMIT_NOFILE, &raised) == 0;
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

} // namespace rrpcp::restore
