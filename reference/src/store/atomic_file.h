// Files that appear whole or not at all.
#pragma once

#include "base/scoped_fd.h"
#include "rrpcp/output.h"

#include <functional>
#include <string>

namespace rrpcp {

// A file in `directory` that nobody sees until it is published: without a name (O_TMPFILE), or
// where the file system has no such files, under a private name with a lock that dies with its
// writer. What is not published is gone with the object, or, after a kill, with the next writer in
// the directory.
class PendingFile {
public:
  // Throws Error.
  explicit PendingFile(std::string directory);
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();

  int fd() const { return file_.get(); }

  // Makes the content durable. Throws Error.
  void sync();
  // Gives the file the name `name` in the directory; false where that name exists.
  bool publish_new(const std::string& name);
  // Gives the file the name `name`, taking the place of what had it.
  void publish_replacing(const std::string& name);

private:
  // Links the unnamed file under a private name, if it has none.
  void give_private_name();

  std::string directory_;
  ScopedFd directory_fd_;
  ScopedFd file_;
  std::string private_name_; // empty: the file has no name
};

// A pending file that is to become the file `path`: write_file_atomically() for those who write
// piece by piece.
class PendingPath {
public:
  // Throws Error: kExists for an existing path unless `replace`, kInvalidArgument for one that can
  // be no file, and from the directory.
  PendingPath(std::string path, bool replace);

  Output& output() { return output_; }
  // A descriptor of what was written, for reading back. Throws Error.
  ScopedFd reopen() const;
  // Makes it durable and gives it its name. Throws Error, kExists for a name that was taken
  // meanwhile.
  void publish();

private:
  std::string path_;
  bool replace_;
  PendingFile file_;
  Output output_;
};

// Makes a directory's entries durable. Throws Error.
void sync_directory(int fd, const std::string& path);

} // namespace rrpcp
