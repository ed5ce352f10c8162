// A directory that appears whole or not at all.
#pragma once

#include "base/scoped_fd.h"

#include <string>
#include <string_view>

namespace rrpcp::compat {

// Private names begin with these; neither rr nor this project takes one for a checkpoint.
inline constexpr std::string_view kPendingPrefix = ".rrpcp-export-";
inline constexpr std::string_view kRemovalPrefix = ".rrpcp-remove-";

// A new directory below `parent` under a private name. It is renamed when it is complete; one that
// is not is removed with the object, or, where its writer was killed, by the next one in the same
// parent (a lock tells the dead).
class PendingDirectory {
public:
  // Throws Error.
  explicit PendingDirectory(const std::string& parent, std::string_view prefix = kPendingPrefix);
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

  // Syncs the directory and its name, and leaves it where it is when the object goes.
  void keep();
  // Removes it now.
  void discard();

private:
  std::string parent_;
  ScopedFd parent_fd_;
  std::string name_;
  std::string path_;
  ScopedFd fd_;
  bool kept_ = false;
};

// Removes the directories in `parent` whose names begin with kPendingPrefix and whose writers died.
void remove_dead_directories(int parent_fd, const std::string& parent);

// Removes the files of the directory `name`, which is at `path`, and the directory; it has no
// subdirectories. Best effort: what cannot be removed stays, and nobody takes it for a checkpoint.
void remove_flat_directory(int parent_fd, const std::string& name, const std::string& path);

// Takes a directory of files out of sight in one step, by a private name, and removes it. Throws
// Error where it cannot be renamed.
void remove_directory(const std::string& parent, const std::string& name);

} // namespace rrpcp::compat
