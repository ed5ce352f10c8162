// A directory that appears whole or not at all.
#pragma once

#include "base/scoped_fd.h"

#include <string>

namespace rrpcp::compat {

// A new directory below `parent` under a private name, which neither rr nor this project takes for
// a checkpoint. It is renamed when it is complete; one that is not is removed with the object, or,
// where its writer was killed, by the next one in the same parent (a lock tells the dead).
class PendingDirectory {
public:
  // Throws Error.
  explicit PendingDirectory(const std::string& parent);
  PendingDirectory(const PendingDirectory&) = delete;
  PendingDirectory& operator=(const PendingDirectory&) = delete;
  ~PendingDirectory();

  int fd() const { return fd_.get(); }
  // Path under the private name.
  const std::string& path() const { return path_; }

  // Makes a file in it; throws Error for one that exists.
  ScopedFd create(const std::string& name) const;

  // Syncs the directory and gives it the name `name` in the parent. Throws Error(kExists) where
  // that name exists.
  void publish(const std::string& name);

private:
  std::string parent_;
  ScopedFd parent_fd_;
  std::string name_;
  std::string path_;
  ScopedFd fd_;
  bool published_ = false;
};

// Takes a directory of files out of sight in one step, by a private name, and removes it. Throws
// Error where it cannot be renamed.
void remove_directory(const std::string& parent, const std::string& name);

} // namespace rrpcp::compat
